"""The live kernel model over a window: linearized predictions and posterior covariance, label by label.

Source: [LA] "Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels",
NeurIPS 2022, equations 11 and 12, with the ridge in the Schur complement. One label is the rank-one update

    f⁺ = f + S(:,x') r(x')ᵀ / u(x')        S⁺ = S − S(:,x') S(x',:) / u(x')

with r(x') = y' − f(x') and u(x') = S(x',x') + λ.
"""

import torch

from ntk.buffers import Covariance, GrowingSquare
from ntk.checks import check_absent, check_labels
from ntk.factor import Factor

Tensor = torch.Tensor

# Beyond this many labels at once the covariance is computed anew in float64 instead of updated.
LABELS_PER_UPDATE = 256
COVARIANCE_ROWS_PER_TILE = 512


class Posterior:
    """The kernel model of a window of N items, n of them labeled and m of them candidates.

    Everything about labels (factor, residuals, leave-one-out) is float64 and exact; the covariance over the
    candidates is kept in `covariance_dtype` and refreshed from the factor when it has drifted from it.
    """

    def __init__(
        self,
        gram: Tensor,  # (N, N)
        outputs: Tensor,  # (N, C) of the checkpoint
        ridge: float,
        *,
        labeled: Tensor,  # (n,) window indices, in factor order
        labels: Tensor,  # (n,) classes
        candidates: Tensor,  # (m,) window indices
        factor: Factor | None = None,
        covariance_dtype: torch.dtype | None = None,
        drift_bound: float = 1e-3,
    ) -> None:
        """`ridge` is λ itself. Raises NotPositiveDefiniteError, NonFiniteError when a factor must be made."""
        self._gram = GrowingSquare(gram)
        self._f0 = outputs.double()
        self.ridge = ridge
        self.labeled = labeled.clone()
        self.labels = labels.clone()
        if factor is None:
            factor = Factor.from_gram(self._gram_of(labeled, labeled) + ridge * self._eye(len(labeled)))
        self.factor = factor
        self.drift = 0.0
        self.refreshes = -1
        self._drift_bound = drift_bound
        self._dtype = covariance_dtype or gram.dtype
        self._s = Covariance(candidates, self.classes, self._dtype)
        self.alpha = torch.empty(0)
        self.inverse_diagonal = torch.empty(0)
        self._solve_labels()
        self.inverse_diagonal = self._inverse_diagonal()
        self.refresh()

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
    def m(self) -> int:
        """Candidates."""
        return len(self._s)

    @property
    def classes(self) -> int:
        """C: classes."""
        return self._f0.shape[1]

    @property
    def gram(self) -> Tensor:
        """(N, N) kernel over the window."""
        return self._gram.view

    @property
    def candidates(self) -> Tensor:
        """(m,) window indices, in the order of everything below that has m entries."""
        return self._s.items

    @property
    def candidate_outputs(self) -> Tensor:
        """f: (m, C) linearized outputs of the candidates."""
        return self._s.outputs

    @property
    def covariance(self) -> Tensor:
        """S: (m, m) posterior covariance of the candidates."""
        return self._s.matrix

    @property
    def variance(self) -> Tensor:
        """u: (m,) posterior variance plus ridge."""
        return self._s.matrix.diagonal().double() + self.ridge

    @property
    def column_l1(self) -> Tensor:
        """(m,) Σ_x |S(x, x')| over the candidates x."""
        return self._s.column_l1

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._gram.nbytes + self._s.nbytes + self.factor.nbytes + self._f0.nbytes

    # Labels

    def label(self, index: int, y: int) -> Tensor:
        """Add one label; returns the factor's new row (n + 1,). [LA eq. 12]

        Raises NotPositiveDefiniteError, NonFiniteError; nothing has changed then.
        """
        check_labels([index], [y], self.labeled, self.size, self.classes)
        column = self._gram_of(self.labeled, self._indices([index]))[:, 0]
        residual = self._one_hot([y])[0] - self.outputs_of(self._indices([index]))[0]
        slot = self._s.slot(index)
        change = None if slot is not None else self._exact_columns(self.candidates, [index])[:, 0]
        row = self.factor.append(column, float(self.gram[index, index]) + self.ridge)
        variance = float(row[-1]) ** 2
        if slot is not None:
            stored = float(self._s.matrix[slot, slot]) + self.ridge
            self.drift = max(self.drift, abs(stored - variance) / variance)
            change = self._s.remove(slot)
        self.labeled = torch.cat([self.labeled, self._indices([index])])
        self.labels = torch.cat([self.labels, self._indices([y])])
        # The last column of A⁻¹ carries the whole update of the residuals and of diag(A⁻¹).
        unit = torch.zeros((self.n, 1), dtype=torch.float64, device=self._device)
        unit[-1] = 1 / row[-1]
        last = self.factor.solve_upper(unit)
        self.alpha = torch.cat([self.alpha, torch.zeros_like(residual)[None]]) + last * residual
        grown = torch.cat([self.inverse_diagonal, self.inverse_diagonal.new_zeros(1)])
        self.inverse_diagonal = grown + variance * last[:, 0].square()
        assert change is not None
        self._s.rank_one(change, -1 / variance, residual / variance)
        if self.drift > self._drift_bound:
            self.refresh()
        return row

    def label_many(self, indices: list[int], ys: list[int]) -> list[Tensor]:
        """Add labels in order; returns the factor's new rows. Raises as `label` does."""
        check_labels(indices, ys, self.labeled, self.size, self.classes)
        if not indices:
            return []
        # One append for all of them: it can only fail before anything has changed.
        rows = self._label_block(indices, ys)
        self._solve_labels()
        self.inverse_diagonal = self._inverse_diagonal()
        if len(indices) > LABELS_PER_UPDATE:
            self.refresh()
        else:
            self._s.outputs[:] = self.outputs_of(self.candidates)
        return rows

    def _label_block(self, indices: list[int], ys: list[int]) -> list[Tensor]:
        new = self._indices(indices)
        columns = self._gram_of(self.labeled, new)
        corner = self._gram_of(new, new) + self.ridge * self._eye(len(new))
        gone = set(indices)
        remaining = [k for k in self.candidates.tolist() if k not in gone]
        changes = None
        if len(indices) <= LABELS_PER_UPDATE:
            changes = self._exact_columns(self._indices(remaining), indices)
        start = self.n
        rows = self.factor.append_block(columns, corner)
        for index in indices:
            slot = self._s.slot(index)
            if slot is not None:
                self._s.remove(slot)
        if changes is not None:
            order = {item: k for k, item in enumerate(remaining)}
            changes = changes[[order[item] for item in self.candidates.tolist()]]
            lower = torch.stack(
                [torch.nn.functional.pad(row[start:], (0, start + len(new) - len(row))) for row in rows]
            )
            self._s.subtract_gram(torch.linalg.solve_triangular(lower, changes.mT, upper=False))
        self.labeled = torch.cat([self.labeled, new])
        self.labels = torch.cat([self.labels, self._indices(ys)])
        return rows

    def relabel(self, index: int, y: int) -> None:
        """Correct a label: the right-hand side changes, the factor does not."""
        k = self._place(index)
        change = self._one_hot([y])[0] - self._one_hot([int(self.labels[k])])[0]
        unit = torch.zeros((self.n, 1), dtype=torch.float64, device=self._device)
        unit[k] = 1
        column = self.factor.solve(unit)
        self.alpha = self.alpha + column * change
        self.labels[k] = y
        self._s.outputs.add_((self._gram_of(self.candidates, self.labeled) @ column) * change)

    def withdraw(self, index: int) -> tuple[int, list[Tensor]]:
        """Take a label back; returns (its place k in the factor, the rebuilt rows from k on).

        The item is no candidate until `add_candidates` makes it one.
        """
        k = self._place(index)
        tail = self.labeled[k + 1 :]
        self.factor.truncate(k)
        self.labeled = torch.cat([self.labeled[:k], tail])
        self.labels = torch.cat([self.labels[:k], self.labels[k + 1 :]])
        rows: list[Tensor] = []
        if len(tail):
            columns = self._gram_of(self.labeled[:k], tail)
            rows = self.factor.append_block(columns, self._gram_of(tail, tail) + self.ridge * self._eye(len(tail)))
        self._solve_labels()
        self.inverse_diagonal = self._inverse_diagonal()
        # The label's rank-one update backwards: exact, and one pass instead of a refresh.
        change = self._exact_columns(self._indices([*self.candidates.tolist(), index]), [index])[:, 0]
        self._s.rank_one(change[:-1].to(self._dtype), 1 / (float(change[-1]) + self.ridge), None)
        self._s.outputs[:] = self.outputs_of(self.candidates)
        return k, rows

    # Candidates and window

    def remove_candidate(self, index: int) -> None:
        """The item is not to be suggested any more."""
        slot = self._s.slot(index)
        if slot is None:
            raise KeyError(f"window index {index} is no candidate")
        column = self._s.remove(slot)
        self._s.column_l1.sub_(column.double().abs())

    def add_candidates(self, indices: list[int]) -> None:
        """The items may be suggested (again): their covariances come from the factor, O(nm) each."""
        check_absent(indices, self.candidates, self.labeled)
        everyone = self._indices([*self.candidates.tolist(), *indices])
        columns = self._exact_columns(everyone, indices)
        self._s.add(self._indices(indices), columns, self.outputs_of(self._indices(indices)))

    def extend(self, columns: Tensor, corner: Tensor, outputs: Tensor) -> list[int]:
        """Bring q items into the window; returns their indices. They are neither labeled nor candidates.

        `columns` (N, q) kernel with the window, `corner` (q, q), `outputs` (q, C).
        """
        start = self.size
        self._gram.extend(columns, corner)
        self._f0 = torch.cat([self._f0, outputs.double()])
        return list(range(start, self.size))

    def refresh(self) -> None:
        """Covariance and outputs anew from the kernel and the factor, in float64."""
        half = self.factor.solve_lower(self._gram_of(self.labeled, self.candidates))
        for start in range(0, self.m, COVARIANCE_ROWS_PER_TILE):
            rows = slice(start, min(start + COVARIANCE_ROWS_PER_TILE, self.m))
            kernel = self._gram_of(self.candidates[rows], self.candidates)
            self._s.set_rows(rows, kernel - half[:, rows].mT @ half)
        self._s.outputs[:] = self.outputs_of(self.candidates)
        self.drift = 0.0
        self.refreshes += 1

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

    def _solve_labels(self) -> None:
        residual = self._one_hot(self.labels.tolist()) - self._f0[self.labeled]
        self.alpha = self.factor.solve(residual)

    def _inverse_diagonal(self) -> Tensor:
        inverse = self.factor.solve_lower(self._eye(self.n))
        return inverse.square().sum(dim=0)
