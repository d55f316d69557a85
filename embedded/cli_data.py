"""Commands about what lasts: back it up, restore it, clean up after it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from embedded.errors import StartError
from store.errors import StoreError

_out = Console(highlight=False, soft_wrap=True, markup=False)
_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
_GRACE_SECONDS = 24 * 3600.0
Home = Annotated[Path, typer.Option("--home", envvar="LOOKAHEAD_HOME", help="Data folder of `lookahead up`.")]
_HOME = Path(".lookahead")


@contextmanager
def _told() -> Iterator[None]:
    """What is expected to fail becomes one sentence and exit status 1."""
    try:
        yield
    except (StartError, StoreError) as error:
        _err.print(str(error))
        raise typer.Exit(1) from None
    except OSError as error:
        _err.print(f"{error.filename or 'The disk'}: {error.strerror or error}")
        raise typer.Exit(1) from None


def backup_command(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to write it; a .tar file.")],
    kernels: Annotated[
        bool, typer.Option("--kernels/--without-kernels", help="Without, they are computed again after a restore.")
    ] = True,
    home: Home = _HOME,
) -> None:
    """Write everything that lasts to one file, while the service runs or not.

    Reads DATABASE_URL and ARTIFACTS_URL, or else the data folder of `lookahead up`.
    """
    from embedded.backup import backup
    from embedded.deployment import opened

    with _told(), opened(home, os.environ) as deployment:
        manifest = backup(deployment, file, kernels=kernels, say=_out.print)
        events = manifest["rows"]["label_events"]
        _out.print(f"{file} is complete: {events:,} label events, {file.stat().st_size:,} bytes.")


def restore_command(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What `lookahead backup` wrote.")],
    home: Home = _HOME,
) -> None:
    """Put a backup into an empty data folder, or an empty database. It must not be running."""
    from embedded.deployment import opened
    from embedded.restore import restore

    with _told(), opened(home, os.environ, to_write=True) as deployment:
        manifest = restore(deployment, file, say=_out.print)
        _out.print(f"Restored {manifest['rows']['label_events']:,} label events, as of {manifest['created_at']}.")


def gc_command(home: Home = _HOME) -> None:
    """Remove artifacts that nothing refers to and that are older than a day, while the service runs or not."""
    from embedded.deployment import opened
    from store import pruning
    from store.database import connect

    with _told(), opened(home, os.environ) as deployment:
        sessions = connect(deployment.database_url, pool_size=1)
        removed = pruning.collect(sessions, deployment.artifacts, _GRACE_SECONDS)
        sessions.kw["bind"].dispose()
        _out.print(f"Removed {removed:,} artifacts.")
