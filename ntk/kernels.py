"""Gram blocks of the pseudo-NTK, tile by tile.

Source: [TH] "Insights From Infinitely Wide Neural Networks", section 3.2:
K(x, x') = ∇θ[Σ_i f_i(x)/√C] · ∇θ[Σ_i f_i(x')/√C], the sum over all C² output pairs divided by C.
"""

from collections.abc import Callable

import torch
from torch import nn

from ntk.errors import NonFiniteError
from ntk.linearize import Features, Linearization

Tensor = torch.Tensor

# Items whose kernel is compared with autograd's before an engine is trusted: a few, as units may be dead on one.
ITEMS_CHECKED = 8


def tile_plan(size: int, rows: int) -> list[tuple[int, int]]:
    """Ranges [start, stop) of at most `rows` that cover `size`."""
    return [(start, min(start + rows, size)) for start in range(0, size, rows)]


class KernelEngine:
    """The tangent kernel of one network. Inputs may be larger than memory: tiles are read as needed."""

    def __init__(
        self,
        module: nn.Module,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        memory_bytes: int = 1 << 30,
        product_dtype: torch.dtype = torch.float64,
    ) -> None:
        """The network runs in `dtype`; what was captured of it is multiplied in `product_dtype`.

        Posterior covariances are small differences of kernel entries: rounding in the products is amplified
        by up to the inverse of the ridge, rounding of the network's own tensors is not.
        """
        self._dtype = dtype
        self._product_dtype = product_dtype
        self._device = device or torch.device("cpu")
        self._linearization = Linearization(module, self._device, dtype)
        self._memory = memory_bytes
        self._rows_per_tile: int | None = None

    def outputs(self, x: Tensor) -> Tensor:
        """Network outputs (N, C), float64."""
        return self._linearization.outputs(self._to_device(x)).double()

    def panel(self, x: Tensor, start: int, stop: int, on_tile: Callable[[], None] | None = None) -> Tensor:
        """Rows [start, stop) x columns [0, stop) of the kernel over x, float64.

        The square block at the end of the rows is exactly symmetric, so that panels make a symmetric matrix.
        """
        panel = torch.empty((stop - start, stop), dtype=torch.float64, device=self._device)
        if start:
            panel[:, :start] = self._block(x[start:stop], x[:start], on_tile)
        panel[:, start:] = self._symmetric(x[start:stop], on_tile)
        return panel

    def cross(self, x: Tensor, z: Tensor, on_tile: Callable[[], None] | None = None) -> Tensor:
        """(N, M) kernel between x (N, ...) and z (M, ...), float64."""
        return self._block(x, z, on_tile)

    def gram(self, x: Tensor) -> Tensor:
        """(N, N) kernel over x, float64, exactly symmetric."""
        return self._symmetric(x, None)

    def diagonal(self, x: Tensor) -> Tensor:
        """(N,) kernel of each item with itself, float64."""
        diagonal = torch.empty(len(x), dtype=torch.float64, device=self._device)
        for start, stop in self._tiles(x):
            features = self._features(x[start:stop]).to(self._product_dtype)
            diagonal[start:stop] = features.inner(features).diagonal()
        return diagonal

    def _block(self, x: Tensor, z: Tensor, on_tile: Callable[[], None] | None) -> Tensor:
        block = torch.empty((len(x), len(z)), dtype=torch.float64, device=self._device)
        columns_of = self._kept(z)
        for row, row_stop in self._tiles(x):
            rows = self._features(x[row:row_stop]).to(self._product_dtype)
            for column, column_stop in self._tiles(z):
                columns = columns_of(column, column_stop).to(self._product_dtype)
                block[row:row_stop, column:column_stop] = rows.inner(columns)
                if on_tile is not None:
                    on_tile()
        return self._finite(block)

    def _symmetric(self, x: Tensor, on_tile: Callable[[], None] | None) -> Tensor:
        """(N, N) over x, from the tiles on and below the diagonal."""
        full = torch.empty((len(x), len(x)), dtype=torch.float64, device=self._device)
        features_of = self._kept(x)
        tiles = self._tiles(x)
        for k, (row, row_stop) in enumerate(tiles):
            rows = features_of(row, row_stop).to(self._product_dtype)
            for column, column_stop in tiles[:k]:
                tile = rows.inner(features_of(column, column_stop).to(self._product_dtype))
                full[row:row_stop, column:column_stop] = tile
                full[column:column_stop, row:row_stop] = tile.mT
                if on_tile is not None:
                    on_tile()
            corner = rows.inner(rows)
            full[row:row_stop, row:row_stop] = (corner + corner.mT) / 2
            if on_tile is not None:
                on_tile()
        return self._finite(full)

    def _finite(self, block: Tensor) -> Tensor:
        if not bool(torch.isfinite(block).all()):
            raise NonFiniteError("the kernel has entries that are not finite")
        return block

    def _kept(self, x: Tensor) -> Callable[[int, int], Features]:
        """Features of tiles of x. The first that fit half of the memory are kept, others captured again."""
        kept: dict[int, Features] = {}

        def features(start: int, stop: int) -> Features:
            if start in kept:
                return kept[start]
            found = self._features(x[start:stop])
            if sum(tile.nbytes for tile in kept.values()) + found.nbytes <= self._memory // 2:
                kept[start] = found
            return found

        return features

    def _features(self, x: Tensor) -> Features:
        return self._linearization.features(self._to_device(x))

    def _tiles(self, x: Tensor) -> list[tuple[int, int]]:
        if len(x) == 0:
            return []
        if self._rows_per_tile is None:
            self._linearization.check(self._to_device(x[:ITEMS_CHECKED]))
            one = self._features(x[:1])
            # A quarter of the memory for capturing a tile, a quarter for two tiles in the products' dtype.
            largest = max(one.working_bytes + one.nbytes, 2 * one.to(self._product_dtype).nbytes, 1)
            self._rows_per_tile = max(1, min(1024, self._memory // (4 * largest)))
        return tile_plan(len(x), self._rows_per_tile)

    def _to_device(self, x: Tensor) -> Tensor:
        return x.to(self._device, self._dtype)
