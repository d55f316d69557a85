"""What a decoding process is told, and what it says: JSON on its command line and on its standard output."""

import io
import math
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import numpy as np

from store.contents import Packer


class RefusedError(Exception):
    """An upload that is not taken: code and status of the problem, and what was wrong."""

    def __init__(self, code: str, detail: str, status: int = 422) -> None:
        super().__init__(detail)
        self.code, self.detail, self.status = code, detail, status


@dataclass(frozen=True)
class Order:
    """What to decode, and within which limits."""

    kind: Literal["pictures", "parquet", "arrow"]
    size: int  # of the upload, in bytes
    shape: list[int] | None  # of the pool's items, if it has any
    image_size: int | None  # side of the pictures that the network gets
    attributes: bool  # whether columns that are no features become attributes
    max_items: int
    max_bytes: int  # of the numbers, and of what people see
    max_expansion: int
    max_pixels: int  # of one picture
    memory_bytes: int
    array: int  # file descriptors to write to
    contents: int
    lines: int
    parent: int = 0  # the process that waits for the answer, where that is known


@dataclass
class Decoded:
    """What was found; the numbers and the rest are in the files."""

    items: int
    ids: list[Any] | None
    contents: bool  # whether there are texts or pictures
    attributes: bool = False
    columns: list[str] | None = None  # names of an item's numbers, where each was a column


@dataclass
class Rows:
    """The items' numbers as an `.npy` file that grows row by row."""

    file: BinaryIO
    order: Order
    items: int = 0
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("<f4"))

    def begin(self, shape: tuple[int, ...], dtype: str) -> None:
        """Say what an item is. Raises RefusedError."""
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.file.write(self._head())

    def add(self, values: np.ndarray[Any, Any]) -> None:
        """Append rows. Raises RefusedError past the limits."""
        check_room(self.order, self.items + len(values), self.shape, self.dtype.itemsize)
        self.file.write(np.ascontiguousarray(values, dtype=self.dtype).tobytes())
        self.items += len(values)

    def close(self) -> None:
        """Write how many there are."""
        self.file.seek(0)
        self.file.write(self._head())
        self.file.flush()

    def _head(self) -> bytes:
        head = io.BytesIO()
        # NumPy leaves room for a longer count: the header's length does not depend on it.
        described = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.items, *self.shape)}
        np.lib.format.write_array_header_1_0(head, described)
        return head.getvalue()


def check_room(order: Order, items: int, shape: tuple[int, ...], itemsize: int) -> None:
    """Raise RefusedError `pool_too_large` where the numbers of so many items would pass the limits."""
    nbytes = items * math.prod(shape) * itemsize
    if items > order.max_items or nbytes > order.max_bytes:
        raise RefusedError(
            "pool_too_large",
            f"at least {items} items in {nbytes} bytes; an upload may hold {order.max_items} items in "
            f"{order.max_bytes} bytes: send it in parts, or pictures with a smaller image_size",
            413,
        )


def check_contents(order: Order, packer: Packer) -> None:
    """Raise RefusedError `pool_too_large` where texts or pictures pass the limit."""
    if packer.nbytes > order.max_bytes:
        raise RefusedError(
            "pool_too_large",
            f"the texts or pictures come to more than {order.max_bytes} bytes: send the upload in parts",
            413,
        )
