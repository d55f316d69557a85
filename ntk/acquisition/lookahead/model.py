"""What every look-ahead score is made of: the candidates' posterior, conditioned on the picks so far.

Source: [LA] "Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels", NeurIPS 2022,
equation 12: a label y' at x' changes the outputs by W(x, x') (y' − f(x')), W(x, x') = S(x, x') / u(x').
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ntk.kernel import nothing

Tensor = torch.Tensor

# Entries per tile: a few MiB, to stay near the processor's caches.
TILE_ENTRIES = 1 << 20


def row_tiles(size: int, entries_per_row: int) -> list[slice]:
    """Slices of rows so that a tile has about TILE_ENTRIES entries."""
    rows = max(1, TILE_ENTRIES // max(entries_per_row, 1))
    return [slice(start, min(start + rows, size)) for start in range(0, size, rows)]


@dataclass(frozen=True)
class LookAhead:
    """m candidates: what a label at each would do to the outputs of all. Nothing here is written to."""

    covariance: Tensor  # (m, m) S before any pick
    variance: Tensor  # (m,) u
    outputs: Tensor  # (m, C) f, float64
    reference: Tensor | None  # (m, C) outputs that change is measured from; None: f itself
    column_l1: Tensor | None  # (m,) Σ_x |S(x, x')| where it is known
    counted: Tensor  # (m,) bool, the candidates that sums run over: a picked one counts as labeled
    halves: Tensor  # (b, m) c / √u per pick: S − HᵀH is the covariance after the picks
    on_tile: Callable[[], None] = nothing  # raises to stop

    @classmethod
    def of(
        cls,
        covariance: Tensor,
        variance: Tensor,
        outputs: Tensor,
        reference: Tensor | None = None,
        column_l1: Tensor | None = None,
        on_tile: Callable[[], None] = nothing,
    ) -> "LookAhead":
        """Before any pick."""
        size = len(covariance)
        return cls(
            covariance,
            variance.double(),
            outputs.double(),
            None if reference is None else reference.double(),
            column_l1,
            torch.ones(size, dtype=torch.bool, device=covariance.device),
            variance.new_empty((0, size), dtype=torch.float64),
            on_tile,
        )

    @property
    def size(self) -> int:
        """m."""
        return len(self.outputs)

    @property
    def base(self) -> Tensor:
        """(m, C) outputs that change is measured from, and that give pseudo-labels."""
        return self.outputs if self.reference is None else self.reference

    @property
    def pseudo_labels(self) -> Tensor:
        """(m,) classes that the reference predicts."""
        return self.base.argmax(dim=1)

    def residuals(self) -> Tensor:
        """(m, C) y' − f(x') with y' the pseudo-label."""
        one_hot = torch.nn.functional.one_hot(self.pseudo_labels, self.outputs.shape[1])
        return one_hot.double() - self.outputs

    def tiles(self, entries_per_pair: int = 1) -> Iterator[tuple[slice, Tensor]]:
        """(rows, W (r, m)): the effect of a label at each column's candidate on the rows, in the dtype of S.

        A tile is the caller's to write to; `entries_per_pair` keeps it small where each pair needs more numbers.
        """
        scale = (1 / self.variance).to(self.covariance.dtype)
        for rows in row_tiles(self.size, self.size * entries_per_pair):
            yield rows, self._conditioned(rows).mul_(scale)
            self.on_tile()

    def column_sums(self) -> Tensor:
        """Σ_x |S(x, x')| over the counted x, (m,), float64."""
        if len(self.halves) == 0 and self.column_l1 is not None:
            return self.column_l1
        weights = self.weights()
        total = torch.zeros(self.size, dtype=torch.float64, device=self.outputs.device)
        for rows in row_tiles(self.size, self.size):
            total += weights[rows] @ self._conditioned(rows).abs_()
            self.on_tile()
        return total

    def weights(self) -> Tensor:
        """(m,) 1 for the counted candidates, 0 for the others, in the dtype of S."""
        return self.counted.to(self.covariance.dtype)

    def labeled(self, pick: int) -> "LookAhead":
        """The same after the pick's pseudo-label: a rank-one update, S itself is left alone."""
        change = self.covariance[:, pick].double() - self.halves.mT @ self.halves[:, pick]
        one_hot = torch.nn.functional.one_hot(self.pseudo_labels[pick], self.outputs.shape[1]).double()
        variance = self.variance[pick]
        half = change / variance.sqrt()
        counted = self.counted.clone()
        counted[pick] = False
        return replace(
            self,
            outputs=self.outputs + torch.outer(change, one_hot - self.outputs[pick]) / variance,
            variance=self.variance - half.square(),
            halves=torch.cat([self.halves, half[None]]),
            counted=counted,
        )

    def _conditioned(self, rows: slice) -> Tensor:
        """A new (r, m) tile of S − HᵀH."""
        if len(self.halves) == 0:
            return self.covariance[rows].clone()
        h = self.halves.to(self.covariance.dtype)
        return torch.addmm(self.covariance[rows], h[:, rows].mT, h, alpha=-1)
