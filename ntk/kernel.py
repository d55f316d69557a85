"""What every kernel offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator
from typing import Protocol

import torch

Tensor = torch.Tensor
Tick = Callable[[], None]
Ranges = list[tuple[int, int]]
_BATCH = 256


class Items(Protocol):
    """Items that are read by the slice: a tensor (N, ...), or something larger than memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


def moved(x: Items, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The items on the device; numbers in `dtype`, token indices as they are."""
    read = x[0 : len(x)]
    return read.to(device, dtype if read.is_floating_point() else None)


def in_batches(outputs: Callable[[Tensor], Tensor], x: Items, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Network outputs (N, C) in float64, a batch at a time."""
    tiles = tile_plan(len(x), _BATCH) or [(0, 0)]
    return torch.cat([outputs(moved(x[start:stop], device, dtype)).double() for start, stop in tiles])


def nothing() -> None:
    """The progress callback of those who do not watch; one that raises cancels."""


def tile_plan(size: int, rows: int) -> Ranges:
    """Ranges [start, stop) of at most `rows` that cover `size`."""
    return [(start, min(start + rows, size)) for start in range(0, size, rows)]


class Kernel(ABC):
    """A network's outputs and a positive semi-definite kernel over items, (N, ...) each."""

    @abstractmethod
    def outputs(self, x: Items) -> Tensor:
        """Network outputs (N, C), float64."""

    @abstractmethod
    def gram(self, x: Items, out: Tensor | None = None, on_tile: Tick = nothing) -> Tensor:
        """(N, N) kernel over x, exactly symmetric: float64, or into `out`, which may lie in a mapped file."""

    @abstractmethod
    def cross(self, x: Items, z: Items, on_tile: Tick = nothing) -> Tensor:
        """(N, M) kernel between x and z, float64."""

    def panels(
        self, x: Items, ranges: Ranges, skip: Container[int] = (), on_tile: Tick = nothing
    ) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, rows [start, stop) x columns [0, stop) of the kernel, float64), range by range.

        Ranges whose start is in `skip` are left out. The square at the end of the rows is exactly symmetric, so
        that panels make a symmetric matrix.
        """
        for start, stop in ranges:
            if start in skip:
                continue
            rows = x[start:stop]
            panel = self.gram(rows, None, on_tile)
            if start:
                panel = torch.cat([self.cross(rows, x[0:start], on_tile), panel], dim=1)
            yield start, stop, panel
