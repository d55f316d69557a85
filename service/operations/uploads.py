"""Resumable uploads: begun, written to, taken by the operation that wanted the file."""

import errno
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import anyio
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.context import Context
from service.problems import (
    ConflictError,
    FullError,
    InvalidError,
    LockedError,
    ServiceError,
    StalledError,
    TooLargeError,
    UnknownError,
)
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.errors import UploadBusyError, UploadMissingError, UploadOffsetError, UploadsFullError
from store.uploads import Upload, Uploads, Writer

# A connection that died unseen would otherwise hold its upload's lock for as long as the network stack likes.
STALLED_SECONDS = 30.0
_SWEEP_SECONDS = 600.0
_GATHERED = 1 << 20  # bytes that go to disk at a time


def open_uploads(settings: ServiceSettings, artifacts: Artifacts) -> Uploads:
    """The uploads of this deployment: in the folder of the settings, or with the artifacts."""
    if settings.uploads_folder:
        folder = Path(settings.uploads_folder)
    elif artifacts.folder is not None:
        folder = artifacts.folder / ".uploads"
    else:
        folder = Path(tempfile.gettempdir()) / f"lookahead-uploads-{os.getuid()}"
    return Uploads(
        folder,
        most=settings.max_open_uploads,
        most_bytes=settings.max_open_upload_bytes,
        expiry_seconds=settings.upload_expiry_hours * 3600,
    )


async def kept_swept(uploads: Uploads) -> None:
    """Forget expired uploads now and then, until cancelled."""
    while True:
        await run_in_threadpool(uploads.sweep)
        await anyio.sleep(_SWEEP_SECONDS)


def create(context: Context, owner: str, length: int, metadata: str) -> Upload:
    """Begin an upload. Raises TooLargeError, InvalidError, ConflictError, FullError."""
    if length == 0:
        raise InvalidError("empty_upload", "Upload-Length is 0: there is nothing to send")
    if length > context.settings.max_upload_bytes:
        raise TooLargeError(
            "body_too_large",
            f"Upload-Length is {length}, and {context.settings.max_upload_bytes} is the most: send a pool in parts",
        )
    with _as_problems():
        return context.uploads.create(owner, length, metadata)


def find(context: Context, owner: str, upload_id: str) -> Upload:
    """The upload. Raises UnknownError."""
    with _as_problems():
        return context.uploads.find(upload_id, owner)


def remove(context: Context, owner: str, upload_id: str) -> None:
    """Forget the upload. Raises UnknownError, LockedError."""
    with _as_problems():
        context.uploads.remove(upload_id, owner)


async def write(
    context: Context, owner: str, upload_id: str, offset: int, announced: int | None, body: AsyncIterator[bytes]
) -> Upload:
    """Append a body. What arrived stays when the connection is lost; a body that is too long leaves nothing.

    Raises UnknownError, ConflictError, LockedError, TooLargeError, StalledError, FullError.
    """
    with _as_problems():
        writing = context.uploads.writing(upload_id, owner, offset)
        writer = await run_in_threadpool(writing.__enter__)
        try:
            if announced is not None and announced > writer.room:
                raise _too_long(writer)
            await _receive(writer, body)
        finally:
            writing.__exit__(None, None, None)
        return writer.upload


async def _receive(writer: Writer, body: AsyncIterator[bytes]) -> None:
    gathered = bytearray()
    stalled = False
    try:
        while (chunk := await _next(body)) is not None:
            gathered += chunk
            if len(gathered) > writer.room:
                raise _too_long(writer)
            if len(gathered) >= _GATHERED:
                await run_in_threadpool(writer.write, bytes(gathered))
                gathered.clear()
    except ClientDisconnect:
        pass
    except TimeoutError:
        stalled = True
    except (ServiceError, HTTPException):
        await run_in_threadpool(writer.revert)
        raise
    if gathered:
        await run_in_threadpool(writer.write, bytes(gathered))
    await run_in_threadpool(writer.save)
    if stalled:
        raise StalledError(
            "upload_stalled",
            f"nothing came for {STALLED_SECONDS:g} seconds; the upload has {writer.upload.offset} of "
            f"{writer.upload.length} bytes: go on from there",
        )


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    with anyio.fail_after(STALLED_SECONDS):
        return await anext(body, None)


def _too_long(writer: Writer) -> TooLargeError:
    return TooLargeError(
        "upload_too_long",
        f"the body goes past the {writer.upload.length} bytes that Upload-Length promised; nothing of it was kept",
    )


@contextmanager
def taken(context: Context, owner: str, upload_id: str) -> Iterator[tuple[BinaryIO, int]]:
    """The file of a complete upload and its size. It is gone once the block is done, and stays if that fails.

    Raises UnknownError, LockedError, and ConflictError `upload_incomplete`.
    """
    # Entered by hand: only the upload's own errors are to be told as such, not those of the block.
    with _as_problems():
        opened = context.uploads.opened(upload_id, owner)
        upload, file = opened.__enter__()
    try:
        if not upload.complete:
            raise ConflictError(
                "upload_incomplete",
                f"upload {upload_id} has {upload.offset} of {upload.length} bytes: send the rest first",
            )
        yield file, upload.length
        context.uploads.forget(upload_id)
    finally:
        opened.__exit__(None, None, None)


@contextmanager
def _as_problems() -> Iterator[None]:
    try:
        yield
    except UploadMissingError as error:
        raise UnknownError("unknown_upload", f"{error}: it may have expired or been used; begin a new one") from error
    except UploadBusyError as error:
        raise LockedError(
            "upload_busy", f"{error} by another request: wait, ask for its offset, go on", headers={"Retry-After": "1"}
        ) from error
    except UploadOffsetError as error:
        raise ConflictError("wrong_offset", f"{error}: ask with HEAD and go on from there") from error
    except UploadsFullError as error:
        raise ConflictError("too_many_uploads", f"{error}: finish or delete one, or wait until one expires") from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise FullError("storage_full", "the service's disk is full: ask whoever runs it, try later") from error
