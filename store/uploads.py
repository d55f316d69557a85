"""Uploads that can be resumed: a file that grows, and beside it what was promised of it.

Two files each, `<id>.data` and `<id>.json`. The second is replaced whole and holds how many bytes of the first are
safely on disk: what a killed process or a lost machine leaves past them is cut off when the upload goes on. A lock on
the data file, which its holder's end releases, keeps writers, takers and sweeps apart, also those of other processes.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from store.errors import UploadBusyError, UploadMissingError, UploadOffsetError, UploadsFullError

_ID = re.compile(r"[0-9a-f]{32}")
_SAVE_BYTES = 16 << 20  # most that a lost process costs its sender
_HALF_MADE_SECONDS = 3600.0


@dataclass(frozen=True)
class Upload:
    """What is known of an upload. `owner` is whoever began it: nobody else is shown it."""

    id: str
    owner: str
    length: int
    offset: int  # bytes on disk for good
    metadata: str
    touched: float  # seconds since 1970

    @property
    def complete(self) -> bool:
        """Whether every byte has arrived."""
        return self.offset == self.length


class Uploads:
    """The unfinished uploads in a folder, bounded in number, in bytes promised and in time."""

    def __init__(self, folder: Path, *, most: int, most_bytes: int, expiry_seconds: float) -> None:
        self._folder = folder
        self._most, self._most_bytes = most, most_bytes
        self.expiry_seconds = expiry_seconds

    def create(self, owner: str, length: int, metadata: str) -> Upload:
        """A new upload of `length` bytes. Raises UploadsFullError; expired ones make room first."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sweep()
        with self._counting():
            known = self._all()
            if len(known) >= self._most:
                raise UploadsFullError(f"{len(known)} uploads are open, and {self._most} is the most")
            promised = sum(upload.length for upload in known)
            if promised + length > self._most_bytes:
                raise UploadsFullError(
                    f"open uploads hold {promised} bytes, and with these {length} there would be more than "
                    f"{self._most_bytes}"
                )
            made = Upload(secrets.token_hex(16), owner, length, 0, metadata, time.time())
            self._data(made.id).touch(mode=0o600)
            self._save(made)
        return made

    def find(self, upload_id: str, owner: str) -> Upload:
        """The upload as it is on disk. Raises UploadMissingError, also for those of others and expired ones."""
        found = self._read(upload_id)
        if found is None or found.owner != owner or self.expires(found) < time.time():
            raise UploadMissingError(f"there is no upload {upload_id!r}")
        return found

    def expires(self, upload: Upload) -> float:
        """When it is forgotten, in seconds since 1970."""
        return upload.touched + self.expiry_seconds

    def remove(self, upload_id: str, owner: str) -> None:
        """Forget an upload. Raises UploadMissingError, UploadBusyError."""
        with self.opened(upload_id, owner):
            self.forget(upload_id)

    @contextlib.contextmanager
    def opened(self, upload_id: str, owner: str) -> Iterator[tuple[Upload, BinaryIO]]:
        """The upload and its bytes, for nobody else meanwhile. Raises UploadMissingError, UploadBusyError."""
        self.find(upload_id, owner)
        try:
            file = self._data(upload_id).open("r+b", buffering=0)
        except FileNotFoundError:
            raise UploadMissingError(f"there is no upload {upload_id!r}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UploadBusyError(f"upload {upload_id} is being written or read") from None
            # Only now: until the lock was ours it could still grow or go.
            yield self.find(upload_id, owner), file

    @contextlib.contextmanager
    def writing(self, upload_id: str, owner: str, offset: int) -> Iterator["Writer"]:
        """A writer from `offset` on. Raises UploadOffsetError unless that is where the upload stands."""
        with self.opened(upload_id, owner) as (upload, file):
            if offset != upload.offset:
                raise UploadOffsetError(f"the upload has {upload.offset} of {upload.length} bytes, not {offset}")
            yield Writer(self, upload, file)

    def sweep(self) -> int:
        """Forget what has expired, and what creations cut short have left; returns how many uploads went."""
        if not self._folder.is_dir():
            return 0
        gone = 0
        for path in self._folder.glob("*.data"):
            found = self._read(path.stem)
            if found is None:
                if self._age(path) > _HALF_MADE_SECONDS:
                    self.forget(path.stem)
            elif self.expires(found) < time.time():
                gone += self._forget_unless_busy(path)
        for path in self._folder.glob("*.json*"):
            if not self._data(path.name.partition(".")[0]).exists() and self._age(path) > _HALF_MADE_SECONDS:
                path.unlink(missing_ok=True)
        return gone

    def _forget_unless_busy(self, path: Path) -> int:
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.forget(path.stem)
            return 1
        return 0

    def forget(self, upload_id: str) -> None:
        """Remove both files. For whoever holds the upload open."""
        # The description first: without it the upload is no more, whatever happens between the two.
        self._description(upload_id).unlink(missing_ok=True)
        self._data(upload_id).unlink(missing_ok=True)

    def _read(self, upload_id: str) -> Upload | None:
        if not _ID.fullmatch(upload_id):
            return None
        try:
            return Upload(**json.loads(self._description(upload_id).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _all(self) -> list[Upload]:
        return [found for path in self._folder.glob("*.json") if (found := self._read(path.stem)) is not None]

    def _save(self, upload: Upload) -> None:
        target = self._description(upload.id)
        partial = target.with_suffix(".json.new")
        with partial.open("w") as file:
            json.dump(asdict(upload), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        with (self._folder / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _age(path: Path) -> float:
        try:
            return time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _data(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.data"

    def _description(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.json"


class Writer:
    """Appends to one upload, which is locked meanwhile."""

    def __init__(self, uploads: Uploads, upload: Upload, file: BinaryIO) -> None:
        self._uploads, self._file = uploads, file
        self._began = self._upload = upload
        self._unsaved = 0
        file.truncate(upload.offset)
        file.seek(upload.offset)

    @property
    def upload(self) -> Upload:
        """As it is on disk for good."""
        return self._upload

    @property
    def room(self) -> int:
        """Bytes that are still to come."""
        return self._upload.length - self._upload.offset - self._unsaved

    def write(self, data: bytes) -> None:
        """Append. Raises OSError; ValueError past the promised length."""
        if len(data) > self.room:
            raise ValueError(f"{len(data)} bytes where {self.room} are still to come")
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._unsaved += len(data)
        if self._unsaved >= _SAVE_BYTES:
            self.save()

    def save(self) -> None:
        """Put what was written on disk for good, and say so. Raises OSError."""
        os.fsync(self._file.fileno())
        self._record(self._upload.offset + self._unsaved)

    def revert(self) -> None:
        """Take back everything since this writer began. Raises OSError."""
        self._file.truncate(self._began.offset)
        self._record(self._began.offset)

    def _record(self, offset: int) -> None:
        self._upload = replace(self._upload, offset=offset, touched=time.time())
        self._unsaved = 0
        self._uploads._save(self._upload)
