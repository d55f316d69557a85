"""Arrays of items: `.npz`, `.npy` and `.safetensors`, checked from their headers before their numbers are read."""

import io
import math
import tokenize
import warnings
from collections.abc import Callable
from typing import IO, Any, BinaryIO

import numpy as np

from service.problems import InvalidError, TooLargeError
from service.settings import ServiceSettings
from service.uploads.rows import ArrayHeader, Source

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
_ITEM_ENTRIES_MAX = 10_000_000
_DIMENSIONS_MAX = 32


def from_offset(file: BinaryIO, offset: int) -> Callable[[], IO[bytes]]:
    """Opens a file at a place of it, as often as it is wanted."""

    def start() -> IO[bytes]:
        file.seek(offset)
        return file

    return start


def extract(opened: Callable[[], IO[bytes]], size: int, settings: ServiceSettings) -> Source:
    """Check an `.npy` of `size` bytes, which `opened` opens, by its header. Raises InvalidError, TooLargeError."""
    header, read = read_npy_header(opened())
    checked_header(header, settings)
    if read + header.nbytes != size:
        state = "cut short" if read + header.nbytes > size else "longer than its header says"
        raise InvalidError("truncated_upload", f"the array is {state}: {size} bytes, {read + header.nbytes} expected")

    def start() -> IO[bytes]:
        stream = opened()
        stream.read(read)
        return stream

    return Source(header, start)


def read_npy_header(stream: IO[bytes]) -> tuple[ArrayHeader, int]:
    """The header, and how many bytes it takes. Raises InvalidError."""
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


def checked_header(header: ArrayHeader, settings: ServiceSettings) -> ArrayHeader:
    """The header of items. Raises InvalidError, TooLargeError."""
    if header.dtype.kind not in "fiub" or header.dtype.itemsize > 8 or header.dtype.hasobject:
        raise wrong_dtype(str(header.dtype))
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


def wrong_dtype(dtype: str) -> InvalidError:
    """The problem of numbers that are none."""
    return InvalidError("unsupported_dtype", f"x is {dtype}; items are float16, float32, float64, integers or booleans")
