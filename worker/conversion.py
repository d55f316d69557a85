"""State dicts of torch.save to safetensors, in a process of its own.

`torch.load(weights_only=True)` builds tensors and plain containers and nothing else. It is still a reader of
hostile bytes: it runs in a short-lived process without this one's environment, with bounds on memory, processor
time and what it may write, and what it wrote is checked like any upload.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from worker import unpickle
from worker.errors import CheckpointError

_BYTES_PER_SECOND = 20 << 20
_START_SECONDS = 120
_REASON_MAX = 1000


def is_archive(path: Path) -> bool:
    """Whether the file is a zip, as torch.save writes it; safetensors never begins like one."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


@contextlib.contextmanager
def converted(archive: Path) -> Iterator[Path]:
    """A safetensors file of the archive's state dict, for as long as the context is open. Raises CheckpointError."""
    with tempfile.TemporaryDirectory(prefix="lookahead-") as folder:
        target = Path(folder) / "weights.safetensors"
        _convert(archive, target, Path(folder))
        yield target


def _convert(archive: Path, target: Path, folder: Path) -> None:
    size = _content(archive)
    seconds = _START_SECONDS + size // _BYTES_PER_SECOND
    # By path and isolated (-I): neither this process's import path nor its variables have a say.
    command = [sys.executable, "-I", unpickle.__file__, str(archive.resolve()), str(target), str(size), str(seconds)]
    environment = {"HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(  # noqa: S603 - our own program; the paths are ours too
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=2 * seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(f"reading it took longer than {2 * seconds} seconds") from error
    if done.returncode != 0 or not target.exists():
        raise _refused(_reason(done.stdout, done.returncode))


def _content(archive: Path) -> int:
    """Bytes of everything in the archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return sum(member.file_size for member in opened.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, UnicodeError, ValueError) as error:
        raise _refused(f"it is damaged: {error}") from error


def _reason(said: bytes, status: int) -> str:
    """What the process gave as its reason; it may have been ended before it gave any."""
    try:
        reason = str(json.loads(said)["error"])[:_REASON_MAX]
    except (ValueError, KeyError, TypeError):
        return f"reading it was ended (status {status}): it takes more memory or time than its size explains"
    return "".join(letter if letter.isprintable() else " " for letter in reason)


def _refused(reason: str) -> CheckpointError:
    return CheckpointError(f"the .pt file is not taken: {reason}. {unpickle.RECIPE}")
