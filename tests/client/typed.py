"""The command line as a person types it: a process for each command, forked from one that has loaded it already."""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

LOOKAHEAD = Path(sys.executable).parent / "lookahead"
# What commands load before they do anything: half a second each, if each did it by itself. Not the commands: how wide
# a terminal is, for one, they ask while they load.
_LOADED = ["client.sdk", "typer", "rich.console", "rich.progress", "rich.table"]
_FORKS = multiprocessing.get_context("forkserver")


def _run(words: list[str], environment: dict[str, str], out: str, err: str) -> None:
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["lookahead", *words]
    from embedded.cli import main

    main()


def lookahead(url: str, *words: str, status: int = 0, columns: int = 200) -> str:
    """What a command says, on standard output where it ends with 0."""
    environment = {**os.environ, "LOOKAHEAD_URL": url, "COLUMNS": str(columns)}
    _FORKS.set_forkserver_preload(_LOADED)
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        process = _FORKS.Process(target=_run, args=(list(words), environment, out.name, err.name))
        process.start()
        process.join()
        said, told = Path(out.name).read_text(), Path(err.name).read_text()
    assert process.exitcode == status, said + told
    assert "Traceback" not in told
    return said if status == 0 else told
