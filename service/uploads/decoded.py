"""Uploads that take a decoder: read by a process of its own, which has a limit of memory and none of our secrets."""

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Literal

from service.decoding.order import Decoded, Order
from service.problems import InvalidError, TooLargeError
from service.settings import ServiceSettings
from service.uploads.decoders import Decoders

log = logging.getLogger(__name__)

Kind = Literal["pictures", "parquet", "arrow"]
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Wishes:
    """What the caller says of an upload besides the file, and what the pool has already."""

    shape: list[int] | None = None
    image_size: int | None = None
    attributes: bool = False


@dataclass(frozen=True)
class DecodedFiles:
    """The numbers as an `.npy` file; texts or pictures as a pack; attributes as a line of JSON per item."""

    found: Decoded
    array: BinaryIO
    contents: BinaryIO
    lines: BinaryIO


@contextmanager
def decoded(
    kind: Kind,
    file: BinaryIO,
    size: int,
    wishes: Wishes,
    settings: ServiceSettings,
    decoders: Decoders,
) -> Iterator[DecodedFiles]:
    """What the upload holds.

    Raises InvalidError, TooLargeError, TooManyError, UnavailableError; OSError where there is no room left.
    """
    with ExitStack() as stack:
        array, contents, lines, said = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(4))
        order = Order(
            kind=kind,
            size=size,
            shape=wishes.shape,
            image_size=wishes.image_size,
            attributes=wishes.attributes,
            max_items=settings.max_items,
            max_bytes=settings.max_upload_bytes,
            max_expansion=settings.max_expansion,
            max_pixels=settings.max_picture_pixels,
            memory_bytes=settings.max_decoder_bytes,
            array=array.fileno(),
            contents=contents.fileno(),
            lines=lines.fileno(),
            parent=os.getpid(),
        )
        file.flush()
        found = Decoded(**_answer(order, file, said, decoders))
        for made in (array, contents, lines):
            made.seek(0)
        yield DecodedFiles(found, array, contents, lines)


def _answer(order: Order, file: BinaryIO, said: Any, decoders: Decoders) -> dict[str, Any]:
    """Raises InvalidError, TooLargeError, TooManyError, UnavailableError, OSError."""
    done = decoders.run(order, file, said, environment())
    if done.status < 0:
        log.warning("decoding an upload ended by signal %d: %s", -done.status, done.complaints)
        raise InvalidError("undecodable_upload", "the file makes its decoder fail: it is damaged, or made to do so")
    if done.status:
        raise RuntimeError(f"decoding an upload failed: {done.complaints}")
    said.seek(0)
    answer: dict[str, Any] = json.load(said)
    if "failed" in answer:
        raise OSError(answer["failed"], os.strerror(answer["failed"]))
    if refused := answer.get("refused"):
        too_large = refused["status"] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        raise (TooLargeError if too_large else InvalidError)(refused["code"], refused["detail"])
    found: dict[str, Any] = answer["decoded"]
    return found


def environment() -> dict[str, str]:
    """What Python needs to find its modules: no address, no key."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {
        "PYTHONPATH": str(_ROOT),
        # One thread, and memory that is counted as it is taken.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
    }
