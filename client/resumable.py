"""Big files, by version 1.0 of the tus protocol: in parts, and on from where a lost connection left off."""

import base64
import os
from collections.abc import Callable
from typing import IO

from client.errors import ApiError, InterruptedUploadError, LookaheadError, UnreachableError
from client.transport import Transport
from client.waiting import Told, blocks, pause, tell

BIG = 64 << 20  # bytes from which a file is sent this way
PART = 32 << 20  # bytes of one request: proxies bound them
_TRIES = 8
_PAUSE_SECONDS = 0.5
VERSION = {"Tus-Resumable": "1.0.0"}
_PASSING = {408, 409, 423, 429, 500, 502, 503, 504}

OnBytes = Callable[[int, int], Told]  # bytes sent, bytes in all


def size_of(file: IO[bytes]) -> int:
    """Bytes of an open file, from its beginning."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def send_file(
    transport: Transport, file: IO[bytes], name: str, on_bytes: OnBytes | None = None, resume: str | None = None
) -> str:
    """Send a whole file, or the rest of an upload that was begun; returns the upload's id.

    Raises ApiError where the service refuses, InterruptedUploadError with the id where it cannot be reached for long.
    """
    length = size_of(file)
    upload = resume or _begin(transport, name, length)
    sending = _Sending(transport, file, length, upload, on_bytes)
    try:
        sending.run(0 if resume is None else sending.offset())
    except UnreachableError as error:
        raise InterruptedUploadError(upload, str(error)) from error
    return upload


def _begin(transport: Transport, name: str, length: int) -> str:
    encoded = base64.b64encode(name.encode()[:255]).decode()
    headers = {**VERSION, "Upload-Length": str(length), "Upload-Metadata": f"filename {encoded}"}
    answer = transport.send("POST", "/uploads", headers=headers)
    return str(answer.headers["Location"]).rpartition("/")[2]


class _Sending:
    def __init__(
        self, transport: Transport, file: IO[bytes], length: int, upload: str, on_bytes: OnBytes | None
    ) -> None:
        self._transport, self._file, self._length = transport, file, length
        self._path = f"/uploads/{upload}"
        self._on_bytes = on_bytes

    def run(self, offset: int) -> None:
        failures = 0
        while offset < self._length:
            try:
                offset, failures = self._part(offset), 0
            except LookaheadError as error:
                failures += 1
                if failures == _TRIES or not _passing(error):
                    raise
                pause(_PAUSE_SECONDS * 2 ** min(failures - 1, 5))
                before, offset = offset, self._offset_or(offset)
                failures = 0 if offset > before else failures
            self._tell(offset)

    def offset(self) -> int:
        """Where the service says the upload stands."""
        answer = self._transport.send("HEAD", self._path, repeatable=True, headers=VERSION)
        return int(answer.headers["Upload-Offset"])

    def _offset_or(self, known: int) -> int:
        # Still away: the next part fails too, and that is counted there.
        try:
            return self.offset()
        except LookaheadError as error:
            if not _passing(error):
                raise
            return known

    def _part(self, offset: int) -> int:
        size = min(PART, self._length - offset)
        headers = {
            **VERSION,
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(size),
        }
        stretch = blocks(self._file, offset, size, self._tell)
        answer = self._transport.send("PATCH", self._path, headers=headers, content=stretch)
        return int(answer.headers["Upload-Offset"])

    def _tell(self, sent: int) -> None:
        tell(self._on_bytes, sent, self._length)


def _passing(error: LookaheadError) -> bool:
    """Whether the same may work a little later."""
    return isinstance(error, UnreachableError) or (isinstance(error, ApiError) and error.status in _PASSING)
