"""Rows of an uploaded array, a block at a time: checked, and converted to floating point."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

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


def to_float_rows(raw: IO[bytes], header: ArrayHeader, ids: list[str] | None, target: IO[bytes]) -> str:
    """Write the numbers in `raw` as a float `.npy`; returns its dtype. Raises InvalidError `not_finite`.

    Numbers float32 cannot hold exactly (float64, large integers) become float64, all others float32.
    """
    dtype = "float64" if _needs_double(raw, header) else "float32"
    np.lib.format.write_array_header_1_0(
        target, {"descr": f"<f{np.dtype(dtype).itemsize}", "fortran_order": False, "shape": header.shape}
    )
    for start, block in _blocks(raw, header):
        _check_finite(block, start, ids)
        target.write(np.ascontiguousarray(block, dtype=dtype).data)
    target.flush()
    return dtype


def _blocks(raw: IO[bytes], header: ArrayHeader) -> Iterator[tuple[int, Rows]]:
    """(first row, rows) in order. Column-major arrays are mapped: their rows lie scattered over the file."""
    items = header.shape[0]
    row_bytes = header.nbytes // items
    step = max(1, BLOCK // row_bytes)
    mapped = np.memmap(raw, header.dtype, "r", shape=header.shape, order="F") if header.fortran else None
    raw.seek(0)
    for start in range(0, items, step):
        rows = min(step, items - start)
        if mapped is not None:
            yield start, np.ascontiguousarray(mapped[start : start + rows])
        else:
            flat = np.frombuffer(raw.read(rows * row_bytes), dtype=header.dtype)
            yield start, flat.reshape(rows, *header.shape[1:])


def _needs_double(raw: IO[bytes], header: ArrayHeader) -> bool:
    if header.dtype.kind not in "iu" or header.dtype.itemsize < 4:
        return header.dtype.itemsize == 8
    # float32 holds integers up to 2**24 exactly.
    return any(np.abs(block.astype(np.float64)).max() > 2**24 for _, block in _blocks(raw, header))


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
