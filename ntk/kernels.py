"""Gram blocks of the pseudo-NTK, tile by tile.

Source: [TH] "Insights From Infinitely Wide Neural Networks", section 3.2:
K(x, x') = ∇θ[Σ_i f_i(x)/√C] · ∇θ[Σ_i f_i(x')/√C], the sum over all C² output pairs divided by C.
"""

from collections.abc import Callable

import torch
from torch import nn

from ntk.linearize import Features, Linearization

Tensor = torch.Tensor


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
        self._linearization = Linearization(module.to(self._device, dtype))
        self._memory = memory_bytes
        self._item_bytes: int | None = None

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
        corner = self._block(x[start:stop], x[start:stop], on_tile)
        panel[:, start:] = (corner + corner.mT) / 2
        return panel

    def cross(self, x: Tensor, z: Tensor, on_tile: Callable[[], None] | None = None) -> Tensor:
        """(N, M) kernel between x (N, ...) and z (M, ...), float64."""
        return self._block(x, z, on_tile)

    def gram(self, x: Tensor) -> Tensor:
        """(N, N) kernel over x, float64, exactly symmetric."""
        full = torch.empty((len(x), len(x)), dtype=torch.float64, device=self._device)
        for start, stop in self._tiles(x):
            panel = self.panel(x, start, stop)
            full[start:stop, :stop] = panel
            full[:start, start:stop] = panel[:, :start].mT
        return full

    def diagonal(self, x: Tensor) -> Tensor:
        """(N,) kernel of each item with itself, float64."""
        parts = []
        for start, stop in self._tiles(x):
            features = self._features(x[start:stop])
            parts.append(features.inner(features).diagonal().clone())
        return torch.cat(parts)

    def _block(self, x: Tensor, z: Tensor, on_tile: Callable[[], None] | None) -> Tensor:
        block = torch.empty((len(x), len(z)), dtype=torch.float64, device=self._device)
        same = x.data_ptr() == z.data_ptr() and len(x) == len(z)
        for row, row_stop in self._tiles(x):
            rows = self._features(x[row:row_stop])
            for column, column_stop in self._tiles(z):
                columns = rows if same and row == column else self._features(z[column:column_stop])
                block[row:row_stop, column:column_stop] = rows.inner(columns)
                if on_tile is not None:
                    on_tile()
        return block

    def _features(self, x: Tensor) -> Features:
        return self._linearization.features(self._to_device(x)).to(self._product_dtype)

    def _tiles(self, x: Tensor) -> list[tuple[int, int]]:
        if self._item_bytes is None:
            self._item_bytes = max(1, self._features(x[:1]).nbytes)
        # Two tiles of features are held at a time, and a backward pass holds about as much again.
        return tile_plan(len(x), max(1, min(1024, self._memory // (4 * self._item_bytes))))

    def _to_device(self, x: Tensor) -> Tensor:
        return x.to(self._device, self._dtype)
