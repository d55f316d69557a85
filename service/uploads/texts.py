"""Ids and texts of items, from arrays of strings."""

from typing import IO, Any

import numpy as np

from service.problems import InvalidError, TooLargeError
from service.settings import ServiceSettings
from service.uploads.arrays import read_npy_header
from service.uploads.rows import BLOCK, read_exactly
from store.contents import Packer

_ID_BYTES_MAX = 4 * 512
_IDS_BYTES_MAX = 256 << 20
_TEXT_BYTES_MAX = 4 * 100_000
_COLUMNS_MAX, _COLUMN_LENGTH_MAX = 10_000, 200


def read_ids(stream: IO[bytes], size: int, items: int) -> list[str]:
    """Ids from an `.npy` of strings or integers. Raises InvalidError, TooLargeError."""
    header, read = read_npy_header(stream)
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
    return checked_ids(texts)


def checked_ids(ids: list[Any]) -> list[str]:
    """Ids that are distinct texts of 1 to 512 characters. Raises InvalidError."""
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


def read_columns(stream: IO[bytes], size: int, shape: tuple[int, ...]) -> list[str]:
    """Names of the numbers of items, from an `.npy` of strings. Raises InvalidError `wrong_columns`."""
    header, read = read_npy_header(stream)
    if header.dtype.hasobject or header.dtype.kind not in "US" or header.dtype.itemsize > 4 * _COLUMN_LENGTH_MAX:
        raise InvalidError(
            "wrong_columns",
            f"columns are {header.dtype}; they must be strings of at most {_COLUMN_LENGTH_MAX} characters: "
            "numpy.array([...], dtype=str), not dtype=object",
        )
    if header.shape != shape[1:] or len(shape) != 2 or read + header.nbytes != size:
        raise InvalidError(
            "wrong_columns",
            f"columns have shape {list(header.shape)}, and x {list(shape)}: x (N, D) takes columns (D,), one name for "
            "each number of an item",
        )
    _check_count(header.shape[0])
    data = read_exactly(stream, header.nbytes)
    if header.dtype.kind == "U" and np.frombuffer(data, dtype=header.dtype.byteorder + "u4").max(initial=0) > 0x10FFFF:
        raise InvalidError("wrong_columns", "a name of a column has a character that is none in Unicode")
    try:
        values = np.frombuffer(data, dtype=header.dtype).tolist()
        return checked_columns([value.decode() if isinstance(value, bytes) else str(value) for value in values])
    except UnicodeError as error:
        raise InvalidError("wrong_columns", f"the name of a column is not text: {error}") from error


def checked_columns(names: list[str]) -> list[str]:
    """Names in one line each: what else would make lines or nothing is a space. Raises InvalidError `wrong_columns`."""
    _check_count(len(names))
    found = [" ".join("".join(char if _plain(char) else " " for char in name).split()) for name in names]
    for place, name in enumerate(found, 1):
        if len(name) > _COLUMN_LENGTH_MAX:
            raise InvalidError(
                "wrong_columns",
                f"the name of column {place}, {name[:50]!r}..., has {len(name)} characters; {_COLUMN_LENGTH_MAX} is "
                "the most",
            )
    return found


def _check_count(columns: int) -> None:
    if columns > _COLUMNS_MAX:
        raise InvalidError(
            "wrong_columns", f"there are {columns} names of columns, and {_COLUMNS_MAX} is the most: leave them out"
        )


def _plain(name: str) -> bool:
    return all(ord(char) >= 32 and ord(char) != 127 and not 0xD800 <= ord(char) < 0xE000 for char in name)


def pack_texts(stream: IO[bytes], size: int, items: int, packer: Packer, settings: ServiceSettings) -> None:
    """Texts from an `.npy` of strings, a block at a time. Raises InvalidError, TooLargeError."""
    header, read = read_npy_header(stream)
    if header.dtype.hasobject or header.dtype.kind not in "US" or header.dtype.itemsize > _TEXT_BYTES_MAX:
        raise InvalidError(
            "invalid_texts",
            f"text is {header.dtype}; it must be strings of at most {_TEXT_BYTES_MAX // 4} characters: "
            "numpy.array([...], dtype=str), not dtype=object",
        )
    if header.shape != (items,) or read + header.nbytes != size:
        raise InvalidError("wrong_shape", f"text has shape {list(header.shape)}; there are {items} items")
    if header.nbytes > settings.max_upload_bytes:
        raise TooLargeError(
            "pool_too_large", f"the texts take {header.nbytes} bytes; {settings.max_upload_bytes} is the most"
        )
    step = max(1, BLOCK // max(1, header.dtype.itemsize))
    for start in range(0, items, step):
        count = min(step, items - start)
        for text in _decoded(read_exactly(stream, count * header.dtype.itemsize), header.dtype, start):
            packer.add(text)


def _decoded(data: bytes, dtype: np.dtype[Any], start: int) -> list[bytes]:
    if dtype.kind == "U" and np.frombuffer(data, dtype=dtype.byteorder + "u4").max(initial=0) > 0x10FFFF:
        raise InvalidError("invalid_texts", "a text has a character that is none in Unicode")
    found = []
    for row, value in enumerate(np.frombuffer(data, dtype=dtype).tolist(), start):
        try:
            found.append((value.decode() if isinstance(value, bytes) else value).encode())
        except UnicodeError as error:
            raise InvalidError("invalid_texts", f"the text of item {row} is no Unicode: {error}") from error
    return found
