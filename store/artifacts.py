"""Arrays and weights by content hash, in a folder or in a bucket."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
import numpy.typing as npt

from store.errors import ArtifactCorruptError, ArtifactError, ArtifactMissingError, StorageFullError

_CHUNK = 1 << 20
_HEXADECIMAL = frozenset("0123456789abcdef")


def is_full(error: OSError) -> bool:
    """Whether an error says that there is no room left: on the disk, in the quota or in the file."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def _room_wanted() -> Iterator[None]:
    """Raise StorageFullError where there is no room."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StorageFullError(
                f"there is no room left in the artifact storage ({error.strerror}): ask again once there is"
            ) from error
        raise


class _Plain:
    """Only writes: NumPy writes to real files by itself, and tells of a short write without its cause."""

    def __init__(self, file: Any) -> None:
        self.write = file.write


class Artifacts:
    """Immutable blobs named by the SHA-256 of their bytes.

    Blobs in a folder are opened where they lie, memory-mapped; blobs elsewhere are fetched once into a cache
    folder. Writing the same bytes twice is harmless, and a half-written blob is never visible.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self._fs: Any
        self._fs, self._root = fsspec.core.url_to_fs(url)
        protocols = self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,)
        self._local = "file" in protocols
        self._cache = cache or Path(tempfile.gettempdir()) / f"lookahead-artifacts-{os.getuid()}"
        if self._local:
            Path(self._root).mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path | None:
        """Where the blobs lie, if that is a folder."""
        return Path(self._root) if self._local else None

    def put_file(self, source: BinaryIO) -> str:
        """Store everything from the current position of `source`; returns the SHA-256 in hexadecimal.

        Raises StorageFullError.
        """
        with _room_wanted():
            return self._put_file(source)

    def _put_file(self, source: BinaryIO) -> str:
        digest = hashlib.sha256()
        with self._staged_file(delete=False) as staged:
            try:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    staged.write(chunk)
                staged.flush()
                os.fsync(staged.fileno())
                name = digest.hexdigest()
                self._publish(Path(staged.name), name)
            finally:
                Path(staged.name).unlink(missing_ok=True)
        return name

    def put_array(self, array: npt.NDArray[Any]) -> str:
        """Store an array in NumPy's `.npy` format; returns its content hash. Raises StorageFullError."""
        with _room_wanted(), self._staged_file() as staged:
            plain: Any = _Plain(staged)
            np.lib.format.write_array(plain, np.ascontiguousarray(array), allow_pickle=False)
            staged.seek(0)
            return self._put_file(staged)

    def path(self, name: str) -> Path:
        """A local path to the blob. Raises ArtifactMissingError."""
        local = Path(self._address(name)) if self._local else self._cache / name
        if local.exists():
            return local
        if self._local or not self._fs.exists(self._address(name)):
            raise ArtifactMissingError(f"artifact {name} is not in the artifact storage", name)
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self._cache / f"{name}.{uuid.uuid4().hex}"
        self._fs.get_file(self._address(name), str(partial))
        verify(partial, name)
        partial.replace(local)
        return local

    def exists(self, name: str) -> bool:
        """Whether the storage has a blob of that name, whatever state it is in."""
        return bool(self._fs.exists(self._address(name)))

    def at_hand(self, name: str) -> bool:
        """Whether the blob can be opened without being fetched. Raises ArtifactMissingError where it should be."""
        if self._local:
            self.path(name)
            return True
        return (self._cache / name).exists()

    def read(self, name: str, start: int, stop: int) -> bytes:
        """These bytes of the blob, fewer past its end; the others are not fetched. Raises ArtifactMissingError."""
        address = self._address(name)
        try:
            with (Path(address) if self._local else self._cache / name).open("rb") as file:
                file.seek(start)
                return file.read(stop - start)
        except FileNotFoundError:
            pass
        try:
            if self._local:
                raise FileNotFoundError(address)
            found: bytes = self._fs.cat_file(address, start=start, end=stop)
        except FileNotFoundError as error:
            raise ArtifactMissingError(f"artifact {name} is not in the artifact storage", name) from error
        return found

    def array(self, name: str, *, verify: bool = False) -> npt.NDArray[Any]:
        """The array as a read-only memory map, its bytes compared with the name if asked. Raises ArtifactError."""
        path = self.verified(name) if verify else self.path(name)
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        except (ValueError, EOFError) as error:
            raise ArtifactCorruptError(f"artifact {name} is not a readable array: {error}", name) from error

    def verified(self, name: str) -> Path:
        """As `path`, with the bytes read and compared with the name. Raises ArtifactMissingError, ArtifactCorruptError.

        Costs about a second per gigabyte: for what is read rarely and in full.
        """
        path = self.path(name)
        if _digest(path) == name:
            return path
        if self._local:
            raise ArtifactCorruptError(f"artifact {name} has other bytes than its name promises", name)
        # Only our copy may be damaged: fetch it anew.
        path.unlink(missing_ok=True)
        return self.path(name)

    def intact(self, name: str) -> bool:
        """Whether the blob is there with all its bytes as they were. Reads it."""
        try:
            self.verified(name)
        except ArtifactError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Forget a blob that nothing refers to; it may be gone already."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._address(name))
        (self._cache / name).unlink(missing_ok=True)

    def idle(self, seconds: float) -> Iterator[str]:
        """Names of the blobs that were written more than `seconds` ago."""
        before = time.time() - seconds
        for folder in self._listed(self._root):
            for blob in self._listed(folder):
                name = blob.rpartition("/")[2]
                if len(name) == 64 and _HEXADECIMAL.issuperset(name) and self._written(blob) < before:
                    yield name

    def _listed(self, folder: str) -> list[str]:
        try:
            entries: list[dict[str, Any]] = self._fs.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [entry["name"] for entry in entries if not entry["name"].endswith("/.staging")]

    def _written(self, address: str) -> float:
        if self._local:
            try:
                return os.stat(address).st_mtime
            except FileNotFoundError:
                return time.time()
        written: float = self._fs.modified(address).timestamp()
        return written

    def forget_staged(self, seconds: float) -> int:
        """Remove what writers that were killed left half-written more than `seconds` ago; returns how many files."""
        before, removed = time.time() - seconds, 0
        for path in self._staging().glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        return removed

    def check(self) -> None:
        """Raise OSError unless the storage can be listed: for readiness probes."""
        self._fs.ls(self._root, detail=False) if self._local else self._fs.exists(self._root)

    def free_bytes(self) -> int | None:
        """Free bytes on the disk that the folder lies on; None for buckets, and while the folder is away."""
        if not self._local:
            return None
        try:
            return shutil.disk_usage(self._root).free
        except OSError:
            return None

    def _staged_file(self, *, delete: bool = True) -> Any:
        self._staging().mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=self._staging(), delete=delete)

    def _staging(self) -> Path:
        # Beside the blobs, so that publishing is a rename within one file system.
        return Path(self._root) / ".staging" if self._local else self._cache / ".staging"

    def _address(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"

    def _publish(self, staged: Path, name: str) -> None:
        target = self._address(name)
        if self._local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            staged.replace(target)
        elif not self._fs.exists(target):
            self._fs.put_file(str(staged), target)


def verify(path: Path, name: str) -> None:
    """Raise ArtifactCorruptError, after removing the file, unless its SHA-256 is `name`."""
    if _digest(path) != name:
        path.unlink()
        raise ArtifactCorruptError(f"artifact {name} arrived with other bytes than its name promises", name)


def content_hash(file: BinaryIO) -> str:
    """The name that `put_file` would give; leaves the file where it was."""
    before = file.tell()
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(before)
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return content_hash(file)
