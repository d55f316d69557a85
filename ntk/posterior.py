"""The live kernel model over a window: linearized predictions and posterior covariance, label by label.

Source: [LA] "Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels",
NeurIPS 2022, equations 11 and 12, with the ridge in the Schur complement. One label is the rank-one update

    f⁺ = f + S(:,x') r(x')ᵀ / u(x')        S⁺ = S − S(:,x') S(x',:) / u(x')

with r(x') = y' − f(x') and u(x') = S(x',x') + λ.
"""

import torch

from ntk.buffers import Covariance
from ntk.checks import check_absent, check_labels
from ntk.factor import Factor
from ntk.kernel import Tick, nothing, tile_plan
from ntk.regression import Regression

Tensor = torch.Tensor

# Beyond this many labels at once the covariance is computed anew in float64 instead of updated.
LABELS_PER_UPDATE = 256
COVARIANCE_ROWS_PER_TILE = 512
# Up to this share of the candidates are mended by themselves; more are mended by a refresh.
MENDED_SHARE = 1 / 16
# Outputs that were updated by float32 columns so many times are computed anew from the labels.
UPDATES_OF_OUTPUTS = 256


class Posterior(Regression):
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
        """`ridge` and `factor` as in Regression; `drift` is kept below `drift_bound`.

        Raises NotPositiveDefiniteError, NonFiniteError."""
        super().__init__(gram, outputs, ridge, labeled=labeled, labels=labels, factor=factor)
        self.refreshes = -1
        self.mends = 0
        self._mismatch = 0.0
        self._updates = 0
        self._drift_bound = drift_bound
        self._dtype = covariance_dtype or gram.dtype
        self._s = Covariance(candidates, self.classes, self._dtype)
        self.refresh()

    # Sizes and views

    @property
    def m(self) -> int:
        """Candidates."""
        return len(self._s)

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
        return self._s.diagonal + self.ridge

    @property
    def column_l1(self) -> Tensor:
        """(m,) Σ_x |S(x, x')| over the candidates x."""
        return self._s.column_l1

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return super().nbytes + self._s.nbytes

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
            self._mismatch = max(self._mismatch, abs(stored - variance) / variance)
            change = self._s.remove(slot)
        self.labeled = torch.cat([self.labeled, self._indices([index])])
        self.labels = torch.cat([self.labels, self._indices([y])])
        self._take_in((residual / row[-1])[None])
        assert change is not None
        self._s.rank_one(change, -1 / variance, residual / variance)
        self._mend()
        return row

    def label_many(self, indices: list[int], ys: list[int], tick: Tick = nothing) -> range:
        """Add labels in order; returns the places of their rows in the factor. Raises as `label` does.

        `tick` is called between blocks of labels. What it raises is passed on, and leaves a model to be thrown away.
        """
        check_labels(indices, ys, self.labeled, self.size, self.classes)
        start = self.n
        if not indices:
            return range(start, start)
        if len(indices) <= LABELS_PER_UPDATE:
            self._label_block(indices, ys)
            self._mend()
        else:
            self._label_blocks(indices, ys, tick)
            self._solve(tick)
            self.refresh(tick)
        return range(start, self.n)

    def _label_block(self, indices: list[int], ys: list[int]) -> None:
        """One append for all of them: it can only fail before anything has changed."""
        new = self._indices(indices)
        gone = set(indices)
        remaining = [k for k in self.candidates.tolist() if k not in gone]
        changes = self._exact_columns(self._indices(remaining), indices)
        residual = self._one_hot(ys) - self.outputs_of(new)
        start = self.n
        rows = self._append(self.labeled, new)
        self._now_labeled(new, ys)
        order = {item: k for k, item in enumerate(remaining)}
        changes = changes[[order[item] for item in self.candidates.tolist()]]
        lower = torch.stack([torch.nn.functional.pad(row[start:], (0, start + len(new) - len(row))) for row in rows])
        half = torch.linalg.solve_triangular(lower, changes.mT, upper=False)
        self._s.subtract_gram(half)
        w = torch.linalg.solve_triangular(lower, residual, upper=False)
        self._s.outputs.add_(half.mT @ w)
        self._take_in(w)

    def _label_blocks(self, indices: list[int], ys: list[int], tick: Tick) -> None:
        """Block by block, so that memory beside the factor stays small; a block that fails takes all of them back."""
        new, start = self._indices(indices), self.n
        try:
            for first, last in tile_plan(len(new), LABELS_PER_UPDATE):
                self._append(torch.cat([self.labeled, new[:first]]), new[first:last])
                tick()
        except BaseException:
            self.factor.truncate(start)
            raise
        self._now_labeled(new, ys)

    def _append(self, before: Tensor, new: Tensor) -> list[Tensor]:
        """Rows of the factor for the items `new` behind those of `before`."""
        corner = self._gram_of(new, new) + self.ridge * self._eye(len(new))
        return self.factor.append_block(self._gram_of(before, new), corner)

    def _now_labeled(self, new: Tensor, ys: list[int]) -> None:
        for index in new.tolist():
            slot = self._s.slot(index)
            if slot is not None:
                self._s.remove(slot)
        self.labeled = torch.cat([self.labeled, new])
        self.labels = torch.cat([self.labels, self._indices(ys)])

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
        rows = self._append(self.labeled[:k], tail) if len(tail) else []
        self._solve()
        # The label's rank-one update backwards: exact, and one pass instead of a refresh.
        change = self._exact_columns(self._indices([*self.candidates.tolist(), index]), [index])[:, 0]
        self._s.rank_one(change[:-1].to(self._dtype), 1 / (float(change[-1]) + self.ridge), None)
        self._s.outputs[:] = self.outputs_of(self.candidates)
        self._mend()
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

    def add_classes(self, count: int) -> None:
        """Append classes that the network does not know. Neither factor nor covariance depends on them."""
        super().add_classes(count)
        self._s.add_classes(count)

    # Drift

    def refresh(self, tick: Tick = nothing) -> None:
        """Covariance and outputs anew from the kernel and the factor, in float64."""
        half = self.factor.solve_lower(self._gram_of(self.labeled, self.candidates))
        for start, stop in tile_plan(self.m, COVARIANCE_ROWS_PER_TILE):
            rows = slice(start, stop)
            kernel = self._gram_of(self.candidates[rows], self.candidates)
            self._s.set_rows(rows, kernel - half[:, rows].mT @ half)
            tick()
        self._s.outputs[:] = self.outputs_of(self.candidates)
        self._mismatch = 0.0
        self.refreshes += 1

    @property
    def drift(self) -> float:
        """Bound on |S − exact| relative to √(u u), over all pairs of candidates; as found, where labels told more."""
        return max(self._mismatch, float(self._worn().max()) if self.m else 0.0)

    def _worn(self) -> Tensor:
        """(m,) bound on each variance's rounding error, relative to u."""
        return self._s.errors / self.variance

    def _mend(self) -> None:
        """Compute anew what may have drifted past the bound: some candidates, or everything."""
        self._updates += 1
        if self._updates >= UPDATES_OF_OUTPUTS and self._dtype != torch.float64:
            self._s.outputs[:] = self.outputs_of(self.candidates)
            self._updates = 0
        worn = (self._worn() > self._drift_bound).nonzero()[:, 0]
        if self._mismatch > self._drift_bound or len(worn) > MENDED_SHARE * self.m:
            self.refresh()
        elif len(worn):
            # Typically the neighbours of the label: their variances have just fallen by orders of magnitude.
            self._s.set_columns(worn, self._exact_columns(self.candidates, self.candidates[worn].tolist()))
            self.mends += 1
