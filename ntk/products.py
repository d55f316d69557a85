"""Matrix products in a stated precision: where nearly all of a kernel's time goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ntk.errors import PrecisionError

Tensor = torch.Tensor
Precision = Literal["float64", "float32", "tf32", "bf16"]
Blocks = list[tuple[slice, slice]]

# Below this many rows halving a symmetric block saves less than the smaller product loses.
_LEAF_ROWS = 192


class Products:
    """a bᵀ in one precision. "tf32" and "bf16" multiply rounded operands and add in float32."""

    def __init__(self, precision: Precision, device: torch.device, entries: int = 1 << 24) -> None:
        """Temporaries have at most about `entries` numbers. Raises PrecisionError when the device cannot."""
        if precision == "tf32" and device.type != "cuda":
            raise PrecisionError("tf32 products need a CUDA device; float32, bf16 and float64 run everywhere")
        self.precision = precision
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.entries = entries
        self._device = device
        self._packed = device.type == "cpu" and self.dtype == torch.float32 and hasattr(torch.ops, "mkldnn")

    def inner(
        self,
        left: Tensor,  # (N, K)
        right: Tensor,  # (M, K)
    ) -> Tensor:
        """(N, M) inner products of rows, both in `dtype`."""
        if self.precision == "bf16" and self._device.type == "cuda":
            return torch.mm(left.bfloat16(), right.bfloat16().mT, out_dtype=torch.float32)
        if not self._packed or left.numel() == 0 or right.numel() == 0:
            return left @ right.mT
        # oneDNN's product, which on some processors is twice as fast as the BLAS behind torch.mm.
        # It is a thousand times slower on rows that are not contiguous.
        left, right = left.contiguous(), right.contiguous()
        product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
        return product

    @contextmanager
    def active(self) -> Iterator[None]:
        """The library's switches for the precision, as they were before when it is left."""
        match self.precision:
            case "tf32":
                switch, value = torch.backends.cuda.matmul, "tf32"
            case "bf16" if self._device.type == "cpu":
                switch, value = torch.backends.mkldnn.matmul, "bf16"  # type: ignore[attr-defined]
            case _:
                yield
                return
        before = switch.fp32_precision
        switch.fp32_precision = value
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
