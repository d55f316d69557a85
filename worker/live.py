"""One kernel state in memory, caught up with the label log.

It is a cache of what Postgres and the artifacts say. Whatever goes wrong with it, it is dropped and loaded again;
nothing here is the only copy of anything.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import torch

from ntk.diagnostics import condition
from ntk.factor import Factor
from ntk.kernel import Kernel, Tick, nothing, tile_plan
from ntk.posterior import LABELS_PER_UPDATE, Posterior
from ntk.regression import widened
from store import pools, states
from store.labels import ItemState
from store.tables import Checkpoint, Json
from worker import budget, gram
from worker.checkpoints import open_loss_predictor
from worker.context import Context
from worker.kernels import PoolItems
from worker.metrics import WarmState
from worker.progress import Reporter
from worker.strategies.window import Window
from worker.widening import open_with_classes

# Items whose kernel with the window is computed at once.
_COLUMNS = 1024


class FactorRows(Sequence[states.Row]):
    """Rows of a factor, read when they are written: there may be thousands."""

    def __init__(self, factor: Factor, rows: range) -> None:
        self._factor = factor
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> states.Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[states.Row]: ...
    def __getitem__(self, place: int | slice) -> states.Row | Sequence[states.Row]:
        """One row, or some, on the CPU."""
        if isinstance(place, slice):
            return FactorRows(self._factor, self._rows[place])
        row: states.Row = self._factor.row(self._rows[place]).cpu().numpy()
        return row


@dataclass
class Live:
    """One kernel state in memory. Window indices are the posterior's; positions are the pool's."""

    state_id: int
    project_id: int
    checkpoint: Checkpoint
    options: Json  # of the kernel
    posterior: Posterior
    engine: Kernel
    outputs: torch.Tensor  # (N, C) of the checkpoint, float64; zeros from column `known` on
    known: int  # classes that the network has an output for
    positions: list[int]
    candidates_at_first: int
    whole_pool: bool  # no unlabeled item was left out of the window
    applied_seq: int
    revision: int
    index: dict[int, int] = field(init=False)
    jitter: float = 0.0  # what the factor's diagonal needed when it was made
    _window: Window | None = None
    _newest_label_since: float | None = None  # of those that no suggestion knows yet
    _network_predicted: torch.Tensor = field(init=False)  # (N,) classes
    _predicted: torch.Tensor = field(init=False)  # (N,) as _predictions has them, at the last catch-up
    _refreshes: int = field(init=False)

    def __post_init__(self) -> None:
        self.index = {position: k for k, position in enumerate(self.positions)}
        self._network_predicted = gram.predicted(self.outputs, self.known)
        self._predicted = self._predictions()
        self._refreshes = self.posterior.refreshes

    def catch_up(
        self,
        context: Context,
        label_seq: int,
        items: Sequence[ItemState],
        classes: int,
        reporter: Reporter | None = None,
    ) -> states.Advance | None:
        """Bring the posterior to where these items stand at `label_seq`, with so many classes; returns what to write.

        Comparing standings instead of replaying events makes this idempotent: seeing an event twice, or one
        that a loaded factor already has, changes nothing. Raises JobError `too_large` before anything has changed;
        CancelledError, ShuttingDownError between blocks of many labels.
        """
        if classes > self.posterior.classes:
            self._add_classes(classes - self.posterior.classes)
        if label_seq == self.applied_seq and not items:
            return None
        before, refreshes = self.posterior.n, self.posterior.refreshes
        tick = self._admitted(context, items, reporter)
        start, withdrew = self._withdraw(items)
        kept = self.posterior.n
        self._bring_in(context, [item.position for item in items if item.label is not None], tick)
        relabeled = self._label(items, tick)
        self._mark_candidates(items)
        start = min(start, before)
        context.metrics.worked_in(
            appended=self.posterior.n - kept,
            relabeled=relabeled,
            withdrawn=before - kept,
            refreshed=self.posterior.refreshes - refreshes,
        )
        rows = range(start, self.posterior.n)
        labeled = gram.to_list(self.posterior.labeled)
        changed, flipped = self._moved()
        change = states.Advance(
            expected_seq=self.applied_seq,
            expected_revision=self.revision,
            applied_seq=label_seq,
            revision=self.revision + withdrew,
            labeled_count=self.posterior.n,
            start=start,
            items=[self.positions[labeled[k]] for k in rows],
            rows=FactorRows(self.posterior.factor, rows),
            leave_one_out_accuracy=gram.accuracy(self.posterior),
            changed_predictions=changed,
            flipped=flipped,
            condition=self._new_condition(),
        )
        self.applied_seq, self.revision = change.applied_seq, change.revision
        return change

    def took_in(self, age: float | None) -> None:
        """The newest label that came in with this catch-up is `age` seconds old, if one came."""
        if age is not None:
            self._newest_label_since = time.monotonic() - age

    def suggested(self, context: Context) -> None:
        """A suggestion is stored: labels that came in before are known to one now."""
        if self._newest_label_since is not None:
            context.metrics.label_to_suggestion_seconds.observe(time.monotonic() - self._newest_label_since)
            self._newest_label_since = None

    def _add_classes(self, count: int) -> None:
        """Zero columns for classes that the network does not know; what was computed stays."""
        self.posterior.add_classes(count)
        self.outputs = widened(self.outputs, self.posterior.classes)
        if self._window is not None:
            self._window.forget_network()

    def _admitted(self, context: Context, items: Sequence[ItemState], reporter: Reporter | None) -> Tick:
        """What to call between blocks of labels. Raises JobError `too_large` where the labels would not fit."""
        labeled = set(gram.to_list(self.posterior.labeled))
        at = [self.index.get(item.position) for item in items if item.label is not None]
        new = sum(index not in labeled for index in at)
        outside = at.count(None)
        if new > 1 or outside:
            budget.admit_labels(context, self.posterior, new, outside)
        if reporter is None or new <= LABELS_PER_UPDATE:
            return nothing if reporter is None else reporter.check
        reporter.stage("catching up", new, "labels")
        blocks = [LABELS_PER_UPDATE] * (new // LABELS_PER_UPDATE)

        def tick() -> None:
            # The first calls come from the blocks, the later ones from what follows them.
            reporter.advance(blocks.pop() if blocks else 0)

        return tick

    def _predictions(self) -> torch.Tensor:
        """(N,) predicted classes of the candidates, by window index; -1 for all other items."""
        found = torch.full((self.posterior.size,), -1, dtype=torch.long, device=self.outputs.device)
        found[self.posterior.candidates] = self.posterior.candidate_outputs.argmax(dim=1)
        return found

    @property
    def predicted(self) -> torch.Tensor:
        """(N,) predicted classes of the candidates at the last catch-up, -1 for all other items; never changed."""
        return self._predicted

    def _moved(self) -> tuple[float | None, float | None]:
        """Shares of candidates predicted otherwise: than by the network, and than before this catch-up."""
        now = self._predictions()
        candidates = self.posterior.candidates
        was = torch.full_like(now, -1)
        was[: len(self._predicted)] = self._predicted
        self._predicted = now
        remaining = candidates[was[candidates] >= 0]
        return (
            gram.share_unequal(now[candidates], self._network_predicted[candidates]),
            gram.share_unequal(now[remaining], was[remaining]),
        )

    def _new_condition(self) -> float | None:
        """The factor's condition number where the covariance was just computed anew, which costs far more."""
        if self.posterior.refreshes == self._refreshes:
            return None
        self._refreshes = self.posterior.refreshes
        return condition(self.posterior.factor)

    def _withdraw(self, items: Sequence[ItemState]) -> tuple[int, bool]:
        """Withdraw what is labeled no more; returns (first factor row that changed, whether any did)."""
        labeled = set(gram.to_list(self.posterior.labeled))
        gone = [
            self.index[item.position]
            for item in items
            if item.label is None and self.index.get(item.position) in labeled
        ]
        starts = [self.posterior.withdraw(index)[0] for index in gone]
        return min(starts, default=self.posterior.n), bool(gone)

    def _bring_in(self, context: Context, positions: Sequence[int], tick: Tick) -> None:
        """Compute the kernel columns of labeled items that the window does not hold."""
        new = [position for position in positions if position not in self.index]
        for start, stop in tile_plan(len(new), _COLUMNS):
            self._bring_in_block(context, new[start:stop])
            tick()

    def _bring_in_block(self, context: Context, new: list[int]) -> None:
        inputs = self.inputs_of(context, new)
        columns = self.engine.cross(self.inputs_of(context, self.positions), inputs)
        corner = self.engine.gram(inputs)
        outputs = self.network_outputs(inputs)
        dtype = self.posterior.gram.dtype
        indices = self.posterior.extend(columns.to(dtype), corner.to(dtype), outputs)
        self.outputs = torch.cat([self.outputs, outputs])
        self._network_predicted = torch.cat([self._network_predicted, gram.predicted(outputs, self.known)])
        self.positions += new
        self.index.update(zip(new, indices, strict=True))

    def network_outputs(self, inputs: PoolItems) -> torch.Tensor:
        """(q, C) outputs of the checkpoint for any items, float64; 0 for classes that it does not know."""
        return widened(self.engine.outputs(inputs), self.posterior.classes)

    def _label(self, items: Sequence[ItemState], tick: Tick) -> int:
        """Label and relabel; returns how many labels were corrected."""
        held = dict(zip(gram.to_list(self.posterior.labeled), gram.to_list(self.posterior.labels), strict=True))
        new: dict[int, int] = {}
        relabeled = 0
        for item in items:
            if item.label is None:
                continue
            index = self.index[item.position]
            if index not in held:
                new[index] = item.label
            elif held[index] != item.label:
                self.posterior.relabel(index, item.label)
                relabeled += 1
        if len(new) == 1:
            ((index, label),) = new.items()
            self.posterior.label(index, label)
        elif new:
            self.posterior.label_many(list(new), list(new.values()), tick)
        return relabeled

    def _mark_candidates(self, items: Sequence[ItemState]) -> None:
        """Skipped items leave the candidates; items that are neither skipped nor labeled come back."""
        unlabeled = [item for item in items if item.label is None and item.position in self.index]
        if not unlabeled:
            return
        candidates = set(gram.to_list(self.posterior.candidates))
        back: list[int] = []
        for item in unlabeled:
            index = self.index[item.position]
            if item.skipped and index in candidates:
                self.posterior.remove_candidate(index)
            elif not item.skipped and index not in candidates:
                back.append(index)
        if back:
            self.posterior.add_candidates(back)

    def inputs_of(self, context: Context, positions: Sequence[int]) -> PoolItems:
        """Inputs of items anywhere in the pool as it is now, read where they lie."""
        with context.sessions.begin() as session:
            chunks = pools.chunks(session, self.project_id)
        return PoolItems(context, chunks, np.array(positions, dtype=np.int64))

    def window(self, context: Context) -> Window:
        """What strategies look at. Features of the network are kept from one request to the next."""

        def inputs_of(indices: list[int]) -> PoolItems:
            return self.inputs_of(context, [self.positions[index] for index in indices])

        if self._window is None:
            self._window = Window(
                posterior=self.posterior,
                network_outputs=self.outputs,
                inputs_of=inputs_of,
                order=torch.empty(0),
                open_module=lambda: open_with_classes(context, self.checkpoint, self.posterior.classes),
                open_loss_predictor=lambda module: open_loss_predictor(context, self.checkpoint, module),
                dtype=torch.float64 if self.options["dtype"] == "float64" else torch.float32,
                device=context.device,
                trained_here="trained_on" in self.checkpoint.extras,
            )
        self._window.network_outputs = self.outputs
        self._window.order = torch.tensor(self.positions, dtype=torch.long, device=context.device)
        return self._window

    @property
    def standing(self) -> WarmState:
        """What is told of it in metrics."""
        diagonal = self.posterior.factor.diagonal()
        # The squared ratio of the factor's extreme diagonal entries never exceeds the condition number.
        bound = float(diagonal.max() / diagonal.min()) ** 2 if len(diagonal) else 1.0
        return WarmState(self.nbytes, bound, self.jitter, self.posterior.n, states.public_id(self.state_id))

    @property
    def nbytes(self) -> int:
        """Memory held, for the bound on all live states."""
        features = 0 if self._window is None else self._window.nbytes
        return self.posterior.nbytes + self.outputs.nbytes + features
