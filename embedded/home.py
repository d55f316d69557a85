"""The data folder: held by one process at a time."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

from embedded.errors import StartError
from store.vault import new_key

KEY_FILE = "secret.key"


class Home:
    """The lock on a data folder, released when its process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock: IO[str] | None = None
        # Whether whoever held the folder last was killed, and may have left processes that are still ending.
        self.left_in_haste = False

    def take(self) -> None:
        """Hold the folder. Raises StartError when it cannot be used, or when somebody else holds it."""
        try:
            (self.folder / "logs").mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise StartError(
                f"The data folder {self.folder} cannot be used ({error.strerror}): choose another with LOOKAHEAD_HOME."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise StartError(
                f"Lookahead already runs on {self.folder} (process {holder}): use it, stop it, "
                "or choose another folder with LOOKAHEAD_HOME."
            ) from None
        lock.seek(0)
        self.left_in_haste = bool(lock.read().strip())
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def leave(self) -> None:
        """Let go of the folder, if it is held."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None


def secret_key(folder: Path) -> str:
    """The folder's key for other systems' access tokens, made once, its owner's alone. Raises StartError."""
    path = folder / KEY_FILE
    try:
        if not path.exists():
            with tempfile.NamedTemporaryFile("w", dir=folder, prefix=f".{KEY_FILE}.", delete=False) as file:
                file.write(f"{new_key()}\n")
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).rename(path)
        return path.read_text().strip()
    except OSError as error:
        raise StartError(f"The key {path} cannot be read or made ({error.strerror}).") from error


def held(folder: Path) -> bool:
    """Whether some process holds the data folder now."""
    try:
        with (folder / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
