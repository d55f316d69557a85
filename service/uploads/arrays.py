"""Pool uploads: `.npz`, `.npy` and `.safetensors`, checked from their headers before their numbers are read.

Whatever arrives is treated as hostile: sizes are compared with limits before anything is allocated, nothing is
unpickled, and memory stays at one block of rows however large the upload is.
"""

import io
import json
import math
import tempfile
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

import numpy as np

from service.problems import InvalidError, TooLargeError
from service.settings import ServiceSettings
from service.uploads.rows import ArrayHeader, Source, copied, float_rows
from service.uploads.safetensors import read_header
from service.uploads.zips import BoundedReader
from store.artifacts import is_full

_VERSIONS: dict[tuple[int, int], tuple[int, Callable[[IO[bytes]], Any]]] = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
_HEADER_MAX = 10_000
# What NumPy's reading of a header, which is a Python literal, can end in.
_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    SyntaxError,
    tokenize.TokenError,
    RecursionError,
    MemoryError,
    Warning,
    EOFError,
)
_MEMBERS = {"x.npy", "ids.npy"}
_ITEM_ENTRIES_MAX = 10_000_000
_ID_BYTES_MAX = 4 * 512
_DIMENSIONS_MAX = 32
_IDS_BYTES_MAX = 256 << 20
_SAFETENSORS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "U8": "|u1", "I8": "|i1", "BOOL": "|b1"} | {
    f"{kind}{bits}": f"<{kind.lower()}{bits // 8}" for kind in "IU" for bits in (16, 32, 64)
}
FORMATS = "an .npz with arrays x and (optionally) ids, an .npy, or a .safetensors with a tensor x"


@dataclass(frozen=True)
class PoolUpload:
    """Inputs as a `.npy` file of float32 or float64, to be read in order; and the ids that came with them.

    The numbers are checked as they are read: reading raises InvalidError.
    """

    file: BinaryIO
    items: int
    input_shape: tuple[int, ...]
    dtype: str
    ids: list[str] | None


@contextmanager
def read_pool(file: BinaryIO, size: int, settings: ServiceSettings) -> Iterator[PoolUpload]:
    """The upload, checked, its numbers as they will be stored. Raises InvalidError, TooLargeError."""
    file.seek(0)
    magic = file.read(8)
    with ExitStack() as stack, tempfile.TemporaryFile() as raw:
        if magic.startswith(b"\x93NUMPY"):
            source, ids = _extract(_from(file, 0), size, settings), None
        elif magic.startswith(b"PK\x03\x04"):
            source, ids = _extract_npz(file, stack, settings)
        elif len(magic) == 8 and 2 <= int.from_bytes(magic, "little") <= size - 8:
            source, ids = _extract_safetensors(file, size, settings)
        elif magic.startswith(b"\x80"):
            raise InvalidError("pickle_refused", f"this is a pickle, which can run code when read: send {FORMATS}")
        else:
            raise InvalidError("unknown_format", f"the file is not one of the formats taken: send {FORMATS}")
        header = source.header
        if ids is not None and len(ids) != header.shape[0]:
            raise InvalidError("wrong_shape", f"there are {len(ids)} ids for {header.shape[0]} items")
        if header.fortran:
            # It has to be mapped, and where it lies now may be compressed, or not on disk.
            copied(source.start(), raw, header.nbytes)
            source = Source(header, lambda: raw)
        dtype, converted = float_rows(source, ids)
        yield PoolUpload(converted, header.shape[0], header.shape[1:], dtype, ids)


def _from(file: BinaryIO, offset: int) -> Callable[[], IO[bytes]]:
    def start() -> IO[bytes]:
        file.seek(offset)
        return file

    return start


# Containers


def _extract_npz(file: BinaryIO, stack: ExitStack, settings: ServiceSettings) -> tuple[Source, list[str] | None]:
    reader = BoundedReader(file, "send one written by numpy.savez")
    try:
        archive = stack.enter_context(zipfile.ZipFile(cast(BinaryIO, reader)))
        members = _checked_members(archive, settings)
        reader.listed = True
        source = _extract(lambda: archive.open(members["x.npy"]), members["x.npy"].file_size, settings)
        if "ids.npy" not in members:
            return source, None
        with archive.open(members["ids.npy"]) as stream:
            return source, _read_ids(stream, members["ids.npy"].file_size, source.header.shape[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, UnicodeError, ValueError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise InvalidError("truncated_upload", f"the .npz is damaged or cut short: {error}") from error


def _checked_members(archive: zipfile.ZipFile, settings: ServiceSettings) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.filename not in _MEMBERS or member.filename in members:
            raise InvalidError(
                "unexpected_member",
                f"the .npz has a member {member.filename[:200]!r} too many: it may hold x and ids, once each",
            )
        if member.flag_bits & 1 or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise InvalidError("unsupported_archive", "the .npz is encrypted or not compressed by deflate")
        if member.file_size > settings.max_expansion * max(member.compress_size, 1):
            raise TooLargeError(
                "expands_too_much",
                f"{member.filename} would expand {member.file_size // max(member.compress_size, 1)} times, "
                f"and {settings.max_expansion} times is the most: send it uncompressed (numpy.savez)",
            )
        members[member.filename] = member
    if "x.npy" not in members:
        raise InvalidError("x_missing", "the .npz has no array x, which should hold the items, (N, ...)")
    return members


def _extract_safetensors(file: BinaryIO, size: int, settings: ServiceSettings) -> tuple[Source, list[str] | None]:
    found = read_header(file, size)
    if set(found.tensors) != {"x"}:
        raise InvalidError("x_missing", "the .safetensors must hold one tensor, x, with the items, (N, ...)")
    entry = found.tensors["x"]
    if entry.dtype not in _SAFETENSORS:
        raise _wrong_dtype(entry.dtype)
    header = _checked_header(ArrayHeader(np.dtype(_SAFETENSORS[entry.dtype]), entry.shape, False), settings)
    source = Source(header, _from(file, entry.start))
    if "ids" not in found.metadata:
        return source, None
    try:
        ids = json.loads(found.metadata["ids"])
    except (ValueError, RecursionError) as error:
        raise InvalidError("invalid_ids", f"the metadata entry ids is not JSON: {error}") from error
    if not isinstance(ids, list):
        raise InvalidError("invalid_ids", "the metadata entry ids is not a JSON list of strings")
    return source, _checked_ids(ids)


# Arrays


def _extract(opened: Callable[[], IO[bytes]], size: int, settings: ServiceSettings) -> Source:
    """Check an `.npy` of `size` bytes, which `opened` opens, by its header."""
    header, read = _read_npy_header(opened())
    _checked_header(header, settings)
    if read + header.nbytes != size:
        state = "cut short" if read + header.nbytes > size else "longer than its header says"
        raise InvalidError("truncated_upload", f"the array is {state}: {size} bytes, {read + header.nbytes} expected")

    def start() -> IO[bytes]:
        stream = opened()
        stream.read(read)
        return stream

    return Source(header, start)


def _read_npy_header(stream: IO[bytes]) -> tuple[ArrayHeader, int]:
    """The header, and how many bytes it takes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(stream)
            if version not in _VERSIONS:
                raise ValueError(f"version {version} of the format is not one NumPy writes for plain arrays")
            width, parse = _VERSIONS[version]
            prefix = stream.read(width)
            length = int.from_bytes(prefix, "little")
            # NumPy would read it first, and it may claim to be as long as the file.
            if length > _HEADER_MAX:
                raise ValueError(f"it is said to have {length} bytes, and {_HEADER_MAX} is the most")
            shape, fortran, dtype = parse(io.BytesIO(prefix + stream.read(length)))
    except _UNREADABLE as error:
        raise InvalidError("invalid_array", f"the array's header cannot be read: {error}"[:500]) from error
    if len(shape) > _DIMENSIONS_MAX or not all(isinstance(side, int) and 0 <= side < 2**53 for side in shape):
        raise InvalidError(
            "invalid_array", f"the array's shape is not one of at most {_DIMENSIONS_MAX} counts below 2**53"
        )
    return ArrayHeader(dtype, shape, fortran), 8 + width + length


def _checked_header(header: ArrayHeader, settings: ServiceSettings) -> ArrayHeader:
    if header.dtype.kind not in "fiub" or header.dtype.itemsize > 8 or header.dtype.hasobject:
        raise _wrong_dtype(str(header.dtype))
    if header.dtype.byteorder == ">":
        raise InvalidError("unsupported_dtype", "x is big-endian: save it as x.astype(x.dtype.newbyteorder('<'))")
    if len(header.shape) < 2 or 0 in header.shape:
        raise InvalidError(
            "wrong_shape",
            f"x has shape {list(header.shape)}; it must be (N, ...): N items of one or more numbers",
        )
    if header.shape[0] > settings.max_items or header.nbytes > settings.max_upload_bytes:
        raise TooLargeError(
            "pool_too_large",
            f"x has {header.shape[0]} items in {header.nbytes} bytes; an upload may hold {settings.max_items} "
            f"items in {settings.max_upload_bytes} bytes: send it in parts",
        )
    if math.prod(header.shape[1:]) > _ITEM_ENTRIES_MAX:
        raise TooLargeError(
            "item_too_large",
            f"an item has {math.prod(header.shape[1:])} numbers; {_ITEM_ENTRIES_MAX} is the most",
        )
    return header


def _wrong_dtype(dtype: str) -> InvalidError:
    return InvalidError("unsupported_dtype", f"x is {dtype}; items are float16, float32, float64, integers or booleans")


# Ids


def _read_ids(stream: IO[bytes], size: int, items: int) -> list[str]:
    header, read = _read_npy_header(stream)
    if header.dtype.hasobject or header.dtype.kind not in "USiu" or header.dtype.itemsize > _ID_BYTES_MAX:
        raise InvalidError(
            "invalid_ids",
            f"ids are {header.dtype}; they must be strings of at most 512 characters: "
            "numpy.array([...], dtype=str), not dtype=object",
        )
    if header.nbytes > _IDS_BYTES_MAX:
        raise TooLargeError("pool_too_large", f"the ids take {header.nbytes} bytes; {_IDS_BYTES_MAX} is the most")
    if header.shape != (items,) or read + header.nbytes != size:
        raise InvalidError("wrong_shape", f"ids have shape {list(header.shape)}; there are {items} items")
    data = stream.read(header.nbytes)
    if len(data) != header.nbytes:
        raise InvalidError("truncated_upload", "the array ids is cut short")
    if header.dtype.kind == "U" and np.frombuffer(data, dtype=header.dtype.byteorder + "u4").max(initial=0) > 0x10FFFF:
        raise InvalidError("invalid_ids", "an id has a character that is none in Unicode")
    try:
        values = np.frombuffer(data, dtype=header.dtype).tolist()
        texts = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    except (ValueError, UnicodeError) as error:
        raise InvalidError("invalid_ids", f"an id is not text: {error}") from error
    return _checked_ids(texts)


def _checked_ids(ids: list[Any]) -> list[str]:
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if not isinstance(name, str) or not 1 <= len(name) <= 512 or not _plain(name):
            raise InvalidError(
                "invalid_ids",
                f"the id of item {row} must be 1 to 512 characters of text without control characters",
            )
        if name in seen:
            raise InvalidError("duplicate_id", f"the id {name!r} is given twice: ids must be distinct")
        seen.add(name)
    return ids


def _plain(name: str) -> bool:
    return all(ord(char) >= 32 and ord(char) != 127 and not 0xD800 <= ord(char) < 0xE000 for char in name)
