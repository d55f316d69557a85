"""Pool uploads: arrays, tables and archives of pictures, told apart by their first bytes.

Whatever arrives is treated as hostile: sizes are compared with limits before anything is allocated, nothing is
unpickled, what takes a decoder is read by a process of its own, and memory stays at one block of rows however large the
upload is.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

from service.problems import InvalidError
from service.settings import ServiceSettings
from service.uploads.arrays import extract, from_offset
from service.uploads.containers import Extracted, extract_npz, extract_safetensors, is_npz
from service.uploads.decoded import DecodedFiles, Kind, Wishes, decoded
from service.uploads.decoders import Decoders
from service.uploads.rows import Source, copied, float_rows
from service.uploads.texts import checked_columns, checked_ids

FORMATS = (
    "an .npz with arrays x and (optionally) ids, text and columns, an .npy, a .safetensors with a tensor x, a .parquet "
    "or Arrow file, or a .zip of pictures"
)
_TABLES: tuple[tuple[bytes, Kind], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),  # a stream of Arrow's
)


@dataclass(frozen=True)
class PoolUpload:
    """Inputs as a `.npy` file of float32 or float64, to be read in order; and what came with them.

    The numbers are checked as they are read: reading raises InvalidError.
    """

    file: BinaryIO
    items: int
    input_shape: tuple[int, ...]
    dtype: str
    ids: list[str] | None
    contents: BinaryIO | None  # texts or pictures, packed
    attributes: BinaryIO | None  # a line of JSON for each item
    columns: list[str] | None  # names of an item's numbers


@contextmanager
def read_pool(
    file: BinaryIO, size: int, wishes: Wishes, settings: ServiceSettings, decoders: Decoders
) -> Iterator[PoolUpload]:
    """The upload, checked, its numbers as they will be stored. Raises InvalidError, TooLargeError, TooManyError."""
    with ExitStack() as stack:
        lines = None
        kind = _kind(file, size)
        if kind == "pictures" or kind == "parquet" or kind == "arrow":
            made = stack.enter_context(decoded(kind, file, size, wishes, settings, decoders))
            found, lines = _from_decoder(made, settings)
        else:
            _check_plain(wishes)
            found = _extracted(kind, file, size, stack, settings)
        source, ids = found.source, found.ids
        header = source.header
        if ids is not None and len(ids) != header.shape[0]:
            raise InvalidError("wrong_shape", f"there are {len(ids)} ids for {header.shape[0]} items")
        if header.fortran:
            # It has to be mapped, and where it lies now may be compressed, or not on disk.
            raw = stack.enter_context(tempfile.TemporaryFile())
            copied(source.start(), raw, header.nbytes)
            source = Source(header, lambda: raw)
        dtype, converted = float_rows(source, ids)
        yield PoolUpload(converted, header.shape[0], header.shape[1:], dtype, ids, found.texts, lines, found.columns)


def _kind(file: BinaryIO, size: int) -> Kind | Literal["npy", "npz", "safetensors"]:
    """By the first bytes. Raises InvalidError."""
    file.seek(0)
    magic = file.read(8)
    if magic.startswith(b"\x93NUMPY"):
        return "npy"
    if magic.startswith(b"PK\x03\x04"):
        return "npz" if is_npz(file) else "pictures"
    for begin, kind in _TABLES:
        if magic.startswith(begin):
            return kind
    if len(magic) == 8 and 2 <= int.from_bytes(magic, "little") <= size - 8:
        return "safetensors"
    if magic.startswith(b"\x80"):
        raise InvalidError("pickle_refused", f"this is a pickle, which can run code when read: send {FORMATS}")
    raise InvalidError("unknown_format", f"the file is not one of the formats taken: send {FORMATS}")


def _check_plain(wishes: Wishes) -> None:
    if wishes.image_size is not None:
        raise InvalidError("invalid_request", "image_size: goes with a .zip of pictures; arrays are taken as they are")
    if wishes.attributes:
        raise InvalidError("invalid_request", "attributes: goes with a .parquet or Arrow file, whose columns they are")


def _extracted(kind: str, file: BinaryIO, size: int, stack: ExitStack, settings: ServiceSettings) -> Extracted:
    if kind == "npz":
        return extract_npz(file, stack, settings)
    if kind == "safetensors":
        return extract_safetensors(file, size, settings)
    return Extracted(extract(from_offset(file, 0), size, settings), None, None)


def _from_decoder(made: DecodedFiles, settings: ServiceSettings) -> tuple[Extracted, BinaryIO | None]:
    length = made.array.seek(0, 2)
    source = extract(from_offset(made.array, 0), length, settings)
    ids = None if made.found.ids is None else checked_ids(made.found.ids)
    columns = None if made.found.columns is None else checked_columns(made.found.columns)
    extracted = Extracted(source, ids, made.contents if made.found.contents else None, columns)
    return extracted, made.lines if made.found.attributes else None
