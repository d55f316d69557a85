"""Rows of an uploaded array, a block at a time: checked, and converted to floating point as they are read."""

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from service.problems import InvalidError

BLOCK = 8 << 20
Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class ArrayHeader:
    """What an array claims to be."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def nbytes(self) -> int:
        """Bytes its numbers take."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Source:
    """Where an array's numbers are: `start` opens them, from the first on, as often as they are wanted."""

    header: ArrayHeader
    start: Callable[[], IO[bytes]]


def float_rows(source: Source, ids: list[str] | None) -> tuple[str, BinaryIO]:
    """(dtype, the numbers as a float `.npy`, to be read from its beginning). Reading raises InvalidError `not_finite`.

    Numbers float32 cannot hold exactly (float64, large integers) become float64, all others float32. Nothing is
    written anywhere: each block is converted when it is read.
    """
    dtype = "float64" if _needs_double(source) else "float32"
    return dtype, io.BufferedReader(_Converted(lambda: _parts(source, dtype, ids)))


def copied(stream: IO[bytes], target: IO[bytes], count: int) -> None:
    """Copy exactly so many bytes. Raises InvalidError `truncated_upload`."""
    left = count
    while left:
        block = read_exactly(stream, min(BLOCK, left))
        target.write(block)
        left -= len(block)
    target.flush()


class _Converted(io.RawIOBase):
    def __init__(self, parts: Callable[[], Iterator[bytes]]) -> None:
        self._start = parts
        self._restart()

    def _restart(self) -> None:
        self._parts, self._left, self._at = self._start(), memoryview(b""), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Back to the beginning, that is; and nowhere else."""
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if target not in {0, self._at} or whence == io.SEEK_END:
            raise io.UnsupportedOperation("the numbers are converted in order: only the beginning can be sought")
        if target != self._at:
            self._restart()
        return target

    def readinto(self, target: Any) -> int:
        if not self._left:
            self._left = memoryview(next(self._parts, b""))
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        self._at += count
        return count


def _parts(source: Source, dtype: str, ids: list[str] | None) -> Iterator[bytes]:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": f"<f{np.dtype(dtype).itemsize}", "fortran_order": False, "shape": source.header.shape}
    )
    yield head.getvalue()
    for start, block in _blocks(source):
        _check_finite(block, start, ids)
        yield np.ascontiguousarray(block, dtype=dtype).tobytes()


def _blocks(source: Source) -> Iterator[tuple[int, Rows]]:
    """(first row, rows) in order. Column-major arrays are mapped: their rows lie scattered over the file."""
    header = source.header
    items = header.shape[0]
    row_bytes = header.nbytes // items
    step = max(1, BLOCK // row_bytes)
    stream = source.start()
    mapped = np.memmap(stream, header.dtype, "r", shape=header.shape, order="F") if header.fortran else None
    for start in range(0, items, step):
        rows = min(step, items - start)
        if mapped is not None:
            yield start, np.ascontiguousarray(mapped[start : start + rows])
        else:
            flat = np.frombuffer(read_exactly(stream, rows * row_bytes), dtype=header.dtype)
            yield start, flat.reshape(rows, *header.shape[1:])


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    """So many bytes. Raises InvalidError `truncated_upload`."""
    parts: list[bytes] = []
    left = count
    try:
        while left and (part := stream.read(left)):
            parts.append(part)
            left -= len(part)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InvalidError("truncated_upload", f"the .npz is damaged or cut short: {error}") from error
    if left:
        raise InvalidError("truncated_upload", f"the upload ends {left} bytes early")
    return b"".join(parts)


def _needs_double(source: Source) -> bool:
    if source.header.dtype.kind not in "iu" or source.header.dtype.itemsize < 4:
        return source.header.dtype.itemsize == 8
    # float32 holds integers up to 2**24 exactly.
    return any(np.abs(block.astype(np.float64)).max() > 2**24 for _, block in _blocks(source))


def _check_finite(block: Rows, start: int, ids: list[str] | None) -> None:
    if block.dtype.kind != "f":
        return
    flat = block.reshape(len(block), -1)
    fine = (np.abs(flat) <= np.finfo(np.float32).max).all(axis=1)
    if not fine.all():
        row = start + int(np.flatnonzero(~fine)[0])
        name = f" ({ids[row]!r})" if ids is not None else ""
        raise InvalidError(
            "not_finite", f"item {row}{name} has NaN, infinite or too large numbers: every input must be finite"
        )
