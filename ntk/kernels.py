"""Gram blocks of a network's tangent kernel, tile by tile within a stated memory.

Source: [TH] "Insights From Infinitely Wide Neural Networks", section 3.2:
K(x, x') = ∇θ[Σ_i f_i(x)/√C] · ∇θ[Σ_i f_i(x')/√C], the sum over all C² output pairs divided by C; and [LA]
"Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels", section 3 (one logit).
"""

from collections.abc import Callable, Container, Iterator
from typing import Literal

import torch
from torch import nn

from ntk.capture.plan import Plan
from ntk.coverage import Coverage, coverage_of
from ntk.errors import ChangingPassError, NonFiniteError
from ntk.kernel import Items, Kernel, Ranges, Tick, in_batches, moved, nothing, tile_plan
from ntk.linearize import ITEMS_CHECKED, Features, Linearization, sum_weights
from ntk.products import Blocks, Precision, Products, lower, mirror, whole

Tensor = torch.Tensor
Scalar = Literal["pntk", "single_logit"]
# Multiplications per pair of items up to which "auto" affords float64 products.
FLOAT64_UP_TO = 1 << 20


# Shares of the memory: for the features of all items, or else for those of a tile.
_ALL, _TILE = 0.7, 0.25


class KernelEngine(Kernel):
    """The tangent kernel of one network, exact. Inputs may be larger than memory: tiles are read as needed."""

    def __init__(
        self,
        module: nn.Module,
        *,
        kind: Scalar = "pntk",
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        memory_bytes: int = 1 << 30,
        precision: Precision | Literal["auto"] = "auto",
    ) -> None:
        """The network runs in `dtype`; what was captured of it is multiplied in `precision`.

        `memory_bytes` bounds what is held of items beside the block asked for. Posterior covariances are small
        differences of kernel entries: rounding in the products is amplified by up to the inverse of the ridge,
        rounding of the network's own tensors is not. So "auto" is float64, but for float32 networks whose kernel
        entries cost more than `FLOAT64_UP_TO` multiplications. Raises UnsupportedNetworkError.
        """
        self._kind = kind
        self._dtype = dtype
        self._device = device or torch.device("cpu")
        self._linearization = Linearization(module, self._device, dtype)
        self._memory = memory_bytes
        self._products: Products | None = None if precision == "auto" else self._in(precision)
        self._weights: Tensor | None = None
        self._bytes_per_item = 0

    def outputs(self, x: Items) -> Tensor:
        """Network outputs (N, C), float64."""
        return in_batches(self._linearization.network.outputs, x, self._device, self._dtype)

    def gram(self, x: Items, out: Tensor | None = None, on_tile: Tick = nothing) -> Tensor:
        """(N, N) kernel over x, exactly symmetric: float64, or into `out`, which may lie in a mapped file."""
        if out is None:
            out = torch.empty((len(x), len(x)), dtype=torch.float64, device=self._device)
        return self._steady(lambda: self._gram(x, out, on_tile))

    def _gram(self, x: Items, out: Tensor, on_tile: Tick) -> Tensor:
        features_of = self._cached(x, on_tile)
        tiles = self.tiles(x)
        for k, (start, stop) in enumerate(tiles):
            rows = features_of(start, stop)
            for column, column_stop in tiles[:k]:
                block = self._block(rows, features_of(column, column_stop), stop - start, column_stop - column)
                out[start:stop, column:column_stop] = block
                out[column:column_stop, start:stop] = block.mT
                on_tile()
            out[start:stop, start:stop] = self._corner(rows, stop - start)
            on_tile()
        return out

    def cross(self, x: Items, z: Items, on_tile: Tick = nothing) -> Tensor:
        """(N, M) kernel between x (N, ...) and z (M, ...), float64."""
        return self._steady(lambda: self._cross(x, z, on_tile))

    def _cross(self, x: Items, z: Items, on_tile: Tick) -> Tensor:
        out = torch.empty((len(x), len(z)), dtype=torch.float64, device=self._device)
        columns_of = self._cached(z, on_tile, _TILE)
        for start, stop in self.tiles(x, _TILE):
            rows = self.features(x[start:stop], on_tile)
            for column, column_stop in self.tiles(z, _TILE):
                block = self._block(rows, columns_of(column, column_stop), stop - start, column_stop - column)
                out[start:stop, column:column_stop] = block
                on_tile()
        return out

    def panels(
        self, x: Items, ranges: Ranges, skip: Container[int] = (), on_tile: Tick = nothing
    ) -> Iterator[tuple[int, int, Tensor]]:
        """As Kernel has it; what is held of items that fit in memory is computed once for all panels."""
        features_of = self._cached(x, on_tile)
        for start, stop in ranges:
            if start in skip:
                continue
            try:
                panel = self._panel(x, ranges, start, stop, features_of, on_tile)
            except ChangingPassError:
                self._give_up()
                features_of = self._cached(x, on_tile)
                panel = self._panel(x, ranges, start, stop, features_of, on_tile)
            yield start, stop, panel

    def _panel(
        self,
        x: Items,
        ranges: Ranges,
        start: int,
        stop: int,
        features_of: Callable[[int, int], Features],
        on_tile: Tick,
    ) -> Tensor:
        step = self._rows_per_tile(x)
        panel = torch.empty((stop - start, stop), dtype=torch.float64, device=self._device)
        for row, row_stop in tile_plan(stop - start, step):
            rows = features_of(start + row, start + row_stop)
            for column, column_stop in [*_within(ranges, start, step), *_shifted(tile_plan(row, step), start)]:
                columns = features_of(column, column_stop)
                panel[row:row_stop, column:column_stop] = self._block(
                    rows, columns, row_stop - row, column_stop - column
                )
                on_tile()
            panel[row:row_stop, start + row : start + row_stop] = self._corner(rows, row_stop - row)
            panel[:row, start + row : start + row_stop] = panel[row:row_stop, start : start + row].mT
            on_tile()
        return panel

    def diagonal(self, x: Items) -> Tensor:
        """(N,) kernel of each item with itself, float64."""
        return self._steady(lambda: self._diagonal(x))

    def _diagonal(self, x: Items) -> Tensor:
        diagonal = torch.empty(len(x), dtype=torch.float64, device=self._device)
        for start, stop in self.tiles(x):
            diagonal[start:stop] = self.features(x[start:stop]).diagonal()
        return _finite(diagonal)

    def features(self, x: Items, on_batch: Tick = nothing) -> Features:
        """What is kept of a tile of items."""
        on_device = moved(x, self._device, self._dtype)
        return self._linearization.features(on_device, self._scalar(on_device), on_batch)

    def coverage(self, x: Items) -> Coverage:
        """Which parameter goes which way, for items like those of x."""
        return coverage_of(self._plan(x), self._linearization.network)

    def _steady(self, compute: Callable[[], Tensor]) -> Tensor:
        """Compute, and once more item by item if the forward pass turns out to change with the items."""
        try:
            return compute()
        except ChangingPassError:
            self._give_up()
            return compute()

    def _give_up(self) -> None:
        self._linearization.give_up()
        self._bytes_per_item = 0

    def _plan(self, x: Items) -> Plan:
        """Made on items from all over x."""
        rows = [k * len(x) // ITEMS_CHECKED for k in range(ITEMS_CHECKED)]
        few = torch.cat([moved(x[row : row + 1], self._device, self._dtype) for row in rows])
        return self._linearization.plan(few)

    def _in(self, precision: Precision) -> Products:
        width = 8 if precision == "float64" else 4
        return Products(precision, self._device, entries=max(1 << 16, self._memory // (16 * width)))

    def _multiply(self, total: Tensor, rows: Features, columns: Features, blocks: Blocks) -> None:
        if self._products is None:
            cheap = sum(form.cost for form in rows.forms) <= FLOAT64_UP_TO
            self._products = self._in("float64" if cheap or self._dtype == torch.float64 else "float32")
        rows.add(total, columns, blocks, self._products)

    def _scalar(self, x: Tensor) -> Tensor:
        """(C,) weights of the outputs whose gradient is taken."""
        if self._weights is None:
            outputs = self._linearization.network.outputs(x[:1])
            if self._kind == "pntk":
                self._weights = sum_weights(outputs.shape[1], outputs)
            else:
                self._weights = torch.zeros_like(outputs[0]).index_fill_(0, torch.tensor(0, device=x.device), 1.0)
        return self._weights

    def _block(self, rows: Features, columns: Features, n: int, m: int) -> Tensor:
        total = torch.zeros((n, m), dtype=torch.float64, device=self._device)
        self._multiply(total, rows, columns, whole(n, m))
        return _finite(total)

    def _corner(self, rows: Features, n: int) -> Tensor:
        total = torch.zeros((n, n), dtype=torch.float64, device=self._device)
        self._multiply(total, rows, rows, lower(n))
        return _finite(mirror(total))

    def _cached(self, x: Items, on_batch: Tick, share: float = _ALL) -> Callable[[int, int], Features]:
        """Features of tiles of x. All are kept where they fit, else the first of them; others are captured again."""
        kept: dict[tuple[int, int], Features] = {}
        most = self._memory * (share if self._rows_per_tile(x, share) >= len(x) else _TILE)

        def features(start: int, stop: int) -> Features:
            if (start, stop) in kept:
                return kept[start, stop]
            found = self.features(x[start:stop], on_batch)
            if sum(tile.nbytes for tile in kept.values()) + found.nbytes <= most:
                kept[start, stop] = found
            return found

        return features

    def tiles(self, x: Items, share: float = _ALL) -> Ranges:
        """Ranges of items: all at once where that takes at most this share of the memory, else as tiles of a pair."""
        return tile_plan(len(x), self._rows_per_tile(x, share)) if len(x) else []

    def _rows_per_tile(self, x: Items, share: float = _ALL) -> int:
        """All items where they fit; else so many that two tiles, and one that is kept, leave room for temporaries."""
        if len(x) == 0:
            return 1
        if self._bytes_per_item == 0:
            self._plan(x)
            few = self.features(x[:2])
            self._bytes_per_item = max(1, few.nbytes // min(2, len(x)))
        if len(x) * self._bytes_per_item <= self._memory * share:
            return len(x)
        return max(1, int(self._memory * _TILE) // self._bytes_per_item)


def _within(ranges: Ranges, start: int, step: int) -> Ranges:
    """Tiles of the columns before `start`, cut as the panels they belong to are."""
    tiles: Ranges = []
    for first, last in ranges:
        if last <= start:
            tiles += _shifted(tile_plan(last - first, step), first)
    return tiles


def _shifted(ranges: Ranges, by: int) -> Ranges:
    return [(start + by, stop + by) for start, stop in ranges]


def _finite(block: Tensor) -> Tensor:
    if not bool(torch.isfinite(block).all()):
        raise NonFiniteError("the kernel has entries that are not finite")
    return block
