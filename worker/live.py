"""Live states: posteriors kept warm on this worker's device, and caught up with the label log.

A live state is a cache of what Postgres and the artifacts say. Whatever goes wrong with it, it is dropped and
loaded again; nothing here is the only copy of anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ntk.factor import Factor
from ntk.kernel import Kernel
from ntk.posterior import Posterior
from store import labels, pools, states
from store.labels import ItemState
from store.tables import Checkpoint, Json, KernelPanel, KernelState
from worker import gram
from worker.checkpoints import open_loss_predictor, open_network
from worker.context import Context
from worker.kernels import PoolItems, open_kernel
from worker.strategies.window import Window


@dataclass
class Live:
    """One kernel state in memory. Window indices are the posterior's; positions are the pool's."""

    state_id: int
    project_id: int
    checkpoint: Checkpoint
    options: Json  # of the kernel
    posterior: Posterior
    engine: Kernel
    outputs: torch.Tensor  # (N, C) of the checkpoint, float64
    positions: list[int]
    candidates_at_first: int
    whole_pool: bool  # no unlabeled item was left out of the window
    applied_seq: int
    revision: int
    index: dict[int, int] = field(init=False)
    _window: Window | None = None

    def __post_init__(self) -> None:
        self.index = {position: k for k, position in enumerate(self.positions)}

    def catch_up(self, context: Context, label_seq: int, items: Sequence[ItemState]) -> states.Advance | None:
        """Bring the posterior to where these items stand at `label_seq`; returns what must be written.

        Comparing standings instead of replaying events makes this idempotent: seeing an event twice, or one
        that a loaded factor already has, changes nothing.
        """
        if label_seq == self.applied_seq and not items:
            return None
        before = self.posterior.n
        start, withdrew = self._withdraw(items)
        self._bring_in(context, [item.position for item in items if item.label is not None])
        self._label(items)
        self._mark_candidates(items)
        start = min(start, before)
        rows = range(start, self.posterior.n)
        labeled = gram.to_list(self.posterior.labeled)
        change = states.Advance(
            expected_seq=self.applied_seq,
            expected_revision=self.revision,
            applied_seq=label_seq,
            revision=self.revision + withdrew,
            labeled_count=self.posterior.n,
            start=start,
            items=[self.positions[labeled[k]] for k in rows],
            rows=[self.posterior.factor.row(k).cpu().numpy() for k in rows],
            leave_one_out_accuracy=gram.accuracy(self.posterior),
            changed_predictions=gram.changed_predictions(
                self.posterior.candidate_outputs, self.outputs[self.posterior.candidates]
            ),
        )
        self.applied_seq, self.revision = change.applied_seq, change.revision
        return change

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

    def _bring_in(self, context: Context, positions: Sequence[int]) -> None:
        """Compute the kernel columns of labeled items that the window does not hold."""
        new = [position for position in positions if position not in self.index]
        if not new:
            return
        inputs = self.inputs_of(context, new)
        columns = self.engine.cross(self.inputs_of(context, self.positions), inputs)
        corner = self.engine.gram(inputs)
        outputs = self.engine.outputs(inputs)
        dtype = self.posterior.gram.dtype
        indices = self.posterior.extend(columns.to(dtype), corner.to(dtype), outputs)
        self.outputs = torch.cat([self.outputs, outputs])
        self.positions += new
        self.index.update(zip(new, indices, strict=True))

    def _label(self, items: Sequence[ItemState]) -> None:
        held = dict(zip(gram.to_list(self.posterior.labeled), gram.to_list(self.posterior.labels), strict=True))
        new: dict[int, int] = {}
        for item in items:
            if item.label is None:
                continue
            index = self.index[item.position]
            if index not in held:
                new[index] = item.label
            elif held[index] != item.label:
                self.posterior.relabel(index, item.label)
        if len(new) == 1:
            ((index, label),) = new.items()
            self.posterior.label(index, label)
        elif new:
            self.posterior.label_many(list(new), list(new.values()))

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
                open_module=lambda: open_network(context, self.checkpoint),
                open_loss_predictor=lambda module: open_loss_predictor(context, self.checkpoint, module),
                dtype=torch.float64 if self.options["dtype"] == "float64" else torch.float32,
                device=context.device,
                trained_here="trained_on" in self.checkpoint.extras,
            )
        self._window.network_outputs = self.outputs
        self._window.order = torch.tensor(self.positions, dtype=torch.long, device=context.device)
        return self._window

    @property
    def nbytes(self) -> int:
        """Memory held, for the bound on all live states."""
        features = 0 if self._window is None else self._window.nbytes
        return self.posterior.nbytes + self.outputs.nbytes + features


@dataclass(frozen=True)
class _Stored:
    """What a live state is made from, as read in one transaction."""

    state: KernelState
    checkpoint: Checkpoint
    panels: Sequence[KernelPanel]
    rows: list[states.StoredRow]
    standing: dict[int, ItemState]
    unlabeled: int
    chunks: list[pools.Chunk]


def _read(context: Context, state_id: int) -> _Stored:
    with context.sessions.begin() as session:
        # One snapshot: the rows, their count and the labels must belong together.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        state = session.get_one(KernelState, state_id)
        _, items = labels.touched(session, state.project_id, 0)
        return _Stored(
            state=state,
            checkpoint=session.get_one(Checkpoint, state.checkpoint_id),
            panels=states.panels(session, state_id),
            rows=states.factor_rows(session, state_id, start=0, stop=state.labeled_count),
            standing={item.position: item for item in items},
            unlabeled=len(pools.unlabeled_positions(session, state.project_id)),
            chunks=pools.chunks(session, state.project_id),
        )


def load(context: Context, state_id: int) -> Live:
    """A live state from artifacts and factor rows, current to the state's `applied_seq`."""
    stored = _read(context, state_id)
    positions = [int(p) for p in context.artifacts.array(stored.state.window, verify=True)]
    base = len(positions)
    index = {position: k for k, position in enumerate(positions)}
    # Labeled items that were brought into the window later have no stored column: compute it again.
    extra = [row.item_position for row in stored.rows if row.item_position not in index]
    index.update({position: base + k for k, position in enumerate(extra)})
    positions += extra
    engine = open_kernel(context, stored.checkpoint, stored.state.options)
    assert stored.state.outputs is not None
    outputs = torch.from_numpy(np.array(context.artifacts.array(stored.state.outputs, verify=True))).to(context.device)
    kernel = gram.assemble(context, stored.panels)
    if extra:
        every = np.array(positions, dtype=np.int64)
        old, new = (PoolItems(context, stored.chunks, part) for part in (every[:base], every[base:]))
        kernel, outputs = _extended(engine, kernel, outputs, old, new)
    in_factor = {row.item_position for row in stored.rows}

    def label_of(position: int) -> int:
        # An item withdrawn since has no class any more: any will do until catch_up takes it out again.
        item = stored.standing.get(position)
        return item.label if item is not None and item.label is not None else 0

    def suggestible(position: int) -> bool:
        item = stored.standing.get(position)
        return position not in in_factor and not (item is not None and item.skipped)

    candidates = [k for k, position in enumerate(positions) if suggestible(position)]
    labeled = {position for position, item in stored.standing.items() if item.label is not None}
    assert stored.state.ridge is not None
    posterior = gram.posterior(
        context,
        kernel,
        outputs,
        stored.state.ridge,
        labeled=[index[row.item_position] for row in stored.rows],
        classes=[label_of(row.item_position) for row in stored.rows],
        candidates=candidates,
        factor=Factor.from_rows([torch.from_numpy(row.row.copy()) for row in stored.rows], device=context.device),
    )
    return Live(
        state_id=state_id,
        project_id=stored.state.project_id,
        checkpoint=stored.checkpoint,
        options=stored.state.options,
        posterior=posterior,
        engine=engine,
        outputs=outputs,
        positions=positions,
        candidates_at_first=base - stored.state.labeled_count + len(extra),
        # Of items whose labels are yet to be taken in, none is left to suggest.
        whole_pool=sum(positions[k] not in labeled for k in candidates) >= stored.unlabeled,
        applied_seq=stored.state.applied_seq,
        revision=stored.state.revision,
    )


def _extended(
    engine: Kernel, kernel: torch.Tensor, outputs: torch.Tensor, old: PoolItems, new: PoolItems
) -> tuple[torch.Tensor, torch.Tensor]:
    """The Gram matrix and outputs of the old items with the new ones appended."""
    columns = engine.cross(old, new).to(kernel.dtype)
    corner = engine.gram(new).to(kernel.dtype)
    top = torch.cat([kernel, columns], dim=1)
    bottom = torch.cat([columns.mT, corner], dim=1)
    return torch.cat([top, bottom]), torch.cat([outputs, engine.outputs(new)])
