"""Kernel ridge regression on the labeled items of a window: everything about labels, float64 and exact.

Source: [LA] "Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels",
NeurIPS 2022, equation 11.
"""

import torch

from ntk.buffers import GrowingSquare
from ntk.factor import Factor
from ntk.kernel import Tick, nothing, tile_plan

Tensor = torch.Tensor

# Columns of the factor's inverse that are held at once.
_INVERSE_COLUMNS = 512


class Regression:
    """f = f0 + K_·L A⁻¹ (Y − f0_L) over a window of N items, n of them labeled, with A = K_LL + λI."""

    def __init__(
        self,
        gram: Tensor,  # (N, N)
        outputs: Tensor,  # (N, C) of the checkpoint
        ridge: float,
        *,
        labeled: Tensor,  # (n,) window indices, in factor order
        labels: Tensor,  # (n,) classes
        factor: Factor | None = None,
    ) -> None:
        """`ridge` is λ; what the factor's diagonal needs beside it is added to `self.ridge`.

        A given factor is that of K_LL + λI with this very λ. Raises NotPositiveDefiniteError, NonFiniteError.
        """
        self._gram = GrowingSquare(gram)
        self._f0 = outputs.double()
        self.ridge = ridge
        self.labeled = labeled.clone()
        self.labels = labels.clone()
        if factor is None:
            factor = Factor.from_gram(self._gram_of(labeled, labeled) + ridge * self._eye(len(labeled)))
            # One λ for every row, those appended later too: the jitter is part of the model from here on.
            self.ridge = ridge + factor.jitter
        self.factor = factor
        self.alpha = torch.empty(0)
        self.inverse_diagonal = torch.empty(0)
        self._solve()

    # Sizes and views

    @property
    def size(self) -> int:
        """N: items in the window."""
        return len(self._f0)

    @property
    def n(self) -> int:
        """Labeled items."""
        return len(self.labeled)

    @property
    def classes(self) -> int:
        """C: classes."""
        return self._f0.shape[1]

    @property
    def gram(self) -> Tensor:
        """(N, N) kernel over the window."""
        return self._gram.view

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._gram.nbytes + self.factor.nbytes + self._f0.nbytes

    # Window and classes

    def extend(self, columns: Tensor, corner: Tensor, outputs: Tensor) -> list[int]:
        """Bring q items into the window; returns their indices. They are neither labeled nor candidates.

        `columns` (N, q) kernel with the window, `corner` (q, q), `outputs` (q, C).
        """
        start = self.size
        self._gram.extend(columns, corner)
        self._f0 = torch.cat([self._f0, outputs.double()])
        return list(range(start, self.size))

    def add_classes(self, count: int) -> None:
        """Append classes that the network does not know: its outputs for them are 0, and so are f's without labels."""
        self._f0 = widened(self._f0, self.classes + count)
        self.alpha = widened(self.alpha, self.classes)

    # Predictions

    def outputs_of(self, indices: Tensor) -> Tensor:
        """f: (q, C) linearized outputs of any window items, exact. [LA eq. 11]"""
        if self.n == 0:
            return self._f0[indices]
        return self._f0[indices] + self._gram_of(indices, self.labeled) @ self.alpha

    def outputs_outside(self, cross: Tensor, outputs: Tensor) -> Tensor:
        """f: (q, C) outside the window, from the kernel (q, n) with the labeled items in factor order."""
        return outputs.double() + cross.double() @ self.alpha

    def leave_one_out(self) -> Tensor:
        """(n, C) outputs for each labeled item when its own label is left out."""
        return self._one_hot(self.labels.tolist()) - self.alpha / self.inverse_diagonal[:, None]

    def leave_one_out_accuracy(self) -> float:
        """Share of labeled items that the others predict right; NaN without labels."""
        return float((self.leave_one_out().argmax(dim=1) == self.labels).double().mean())

    # Pieces

    @property
    def _device(self) -> torch.device:
        return self._f0.device

    def _indices(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)

    def _eye(self, size: int) -> Tensor:
        return torch.eye(size, dtype=torch.float64, device=self._device)

    def _gram_of(self, rows: Tensor, columns: Tensor) -> Tensor:
        """A float64 block of the kernel. It is symmetric: gather whole rows of whichever side is shorter."""
        if len(columns) < len(rows):
            return self._gram_of(columns, rows).mT
        return self.gram.index_select(0, rows).index_select(1, columns).double()

    def _one_hot(self, ys: list[int]) -> Tensor:
        return torch.nn.functional.one_hot(self._indices(ys), self.classes).double()

    def _place(self, index: int) -> int:
        found = (self.labeled == index).nonzero()
        if len(found) == 0:
            raise KeyError(f"window index {index} is not labeled")
        return int(found[0])

    def _exact_columns(self, rows: Tensor, indices: list[int]) -> Tensor:
        """S(rows, indices) in float64, from the factor."""
        columns = self._indices(indices)
        if self.n == 0:
            return self._gram_of(rows, columns)
        weights = self.factor.solve(self._gram_of(self.labeled, columns))
        return self._gram_of(rows, columns) - self._gram_of(rows, self.labeled) @ weights

    def _take_in(self, w: Tensor) -> None:
        """Residuals and diag(A⁻¹) after b rows of the factor were appended; w (b, C) is the new end of L⁻¹ (Y − f0)."""
        unit = w.new_zeros((self.n, len(w)))
        unit[self.n - len(w) :] = self._eye(len(w))
        # The new rows of L⁻¹, as columns: of α = L⁻ᵀ L⁻¹ (Y − f0) and of diag(A⁻¹), sums over all rows, what is new.
        ends = self.factor.solve_upper(unit)
        self.alpha = torch.cat([self.alpha, torch.zeros_like(w)]) + ends @ w
        grown = torch.cat([self.inverse_diagonal, self.inverse_diagonal.new_zeros(len(w))])
        self.inverse_diagonal = grown + ends.square().sum(dim=1)

    def _solve(self, tick: Tick = nothing) -> None:
        """Residuals and diag(A⁻¹) anew from the factor."""
        self.alpha = self.factor.solve(self._one_hot(self.labels.tolist()) - self._f0[self.labeled])
        parts = [self.alpha.new_zeros(0)]
        for start, stop in tile_plan(self.n, _INVERSE_COLUMNS):
            unit = self.alpha.new_zeros((self.n, stop - start))
            unit[start:stop] = self._eye(stop - start)
            parts.append(self.factor.solve_lower(unit).square().sum(dim=0))
            tick()
        self.inverse_diagonal = torch.cat(parts)


def widened(outputs: Tensor, classes: int) -> Tensor:
    """Outputs (N, C) with columns of zeros up to (N, `classes`)."""
    return torch.nn.functional.pad(outputs, (0, classes - outputs.shape[1]))
