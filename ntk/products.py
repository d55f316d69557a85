"""Matrix products in a stated precision: where nearly all of a kernel's time goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Tensor = torch.Tensor
Precision = Literal["float64", "float32", "tf32", "bf16"]
Blocks = list[tuple[slice, slice]]

# Below this many rows halving a symmetric block saves less than the smaller product loses.
_LEAF_ROWS = 192


class Products:
    """a bᵀ in one precision.

    "tf32" and "bf16" multiply rounded operands and add in float32, on the tensor cores of a GPU. On a CPU the operands
    are rounded and multiplied in float32: the same numbers to judge by, and no faster.
    """

    def __init__(self, precision: Precision, device: torch.device, entries: int = 1 << 24) -> None:
        """Temporaries have at most about `entries` numbers."""
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.entries = entries
        self._precision = precision
        self._cuda = device.type == "cuda"
        self._packed = device.type == "cpu" and precision != "float64" and hasattr(torch.ops, "mkldnn")

    def inner(
        self,
        left: Tensor,  # (N, K)
        right: Tensor,  # (M, K)
    ) -> Tensor:
        """(N, M) inner products of rows, both in `dtype`."""
        if self._precision == "bf16" and self._cuda:
            return torch.mm(left.bfloat16(), right.bfloat16().mT, out_dtype=torch.float32)
        if self._precision in ("bf16", "tf32") and not self._cuda:
            left, right = self._rounded(left), self._rounded(right)
        if not self._packed or left.numel() == 0 or right.numel() == 0:
            return left @ right.mT
        # oneDNN's product, which on some processors is twice as fast as the BLAS behind torch.mm.
        # It is a thousand times slower on rows that are not contiguous.
        left, right = left.contiguous(), right.contiguous()
        product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
        return product

    def _rounded(self, operand: Tensor) -> Tensor:
        if self._precision == "bf16":
            return operand.bfloat16().float()
        # tf32 keeps ten of float32's 23 bits of fraction.
        bits = operand.contiguous().view(torch.int32)
        return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(torch.float32)

    @contextmanager
    def active(self) -> Iterator[None]:
        """The library's switch for the precision, and as it was before when it is left."""
        if not self._cuda or self._precision == "float64":
            yield
            return
        switch = torch.backends.cuda.matmul
        before = switch.fp32_precision
        switch.fp32_precision = "tf32" if self._precision == "tf32" else "ieee"
        try:
            yield
        finally:
            switch.fp32_precision = before


def whole(rows: int, columns: int) -> Blocks:
    """One block: a rectangle."""
    return [(slice(0, rows), slice(0, columns))]


def lower(rows: int) -> Blocks:
    """Blocks that cover a square's lower triangle, diagonal included, and little more."""

    def split(start: int, stop: int) -> Blocks:
        if stop - start < 2 * _LEAF_ROWS:
            return [(slice(start, stop), slice(start, stop))]
        middle = (start + stop) // 2
        return [*split(start, middle), (slice(middle, stop), slice(start, middle)), *split(middle, stop)]

    return split(0, rows)


def mirror(square: Tensor) -> Tensor:
    """Make a square symmetric from its lower triangle, in place."""
    for start in range(0, len(square), 1024):
        rows = slice(start, min(start + 1024, len(square)))
        corner = square[rows, rows]
        corner.copy_(corner.tril() + corner.tril(-1).mT)
        square[: rows.start, rows] = square[rows, : rows.start].mT
    return square
