"""A live state from Postgres and artifacts: stored panels, factor rows and the labels as they stand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ntk.factor import Factor
from ntk.kernel import Kernel
from ntk.regression import widened
from store import classes, labels, pools, states
from store.labels import ItemState
from store.tables import Checkpoint, KernelPanel, KernelState
from worker import budget, gram
from worker.context import Context
from worker.kernels import PoolItems, open_kernel
from worker.live import Live


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
    classes: int


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
            classes=classes.count(session, state.project_id),
        )


def load(context: Context, state_id: int) -> Live:
    """A live state from artifacts and factor rows, current to its `applied_seq`. Raises JobError `too_large`."""
    stored = _read(context, state_id)
    positions = [int(p) for p in context.artifacts.array(stored.state.window, verify=True)]
    base = len(positions)
    index = {position: k for k, position in enumerate(positions)}
    # Labeled items that were brought into the window later have no stored column: compute it again.
    extra = [row.item_position for row in stored.rows if row.item_position not in index]
    index.update({position: base + k for k, position in enumerate(extra)})
    positions += extra
    in_factor = {row.item_position for row in stored.rows}

    def suggestible(position: int) -> bool:
        item = stored.standing.get(position)
        return position not in in_factor and not (item is not None and item.skipped)

    candidates = [k for k, position in enumerate(positions) if suggestible(position)]
    budget.admit_loaded(
        context,
        budget.Sizes(
            items=len(positions),
            labels=len(stored.rows),
            candidates=len(candidates),
            classes=stored.classes,
            entry=gram.entry_bytes(stored.state.options["dtype"], base),
            joining=len(extra),
        ),
    )
    engine = open_kernel(context, stored.checkpoint, stored.state.options)
    assert stored.state.outputs is not None
    outputs = torch.from_numpy(np.array(context.artifacts.array(stored.state.outputs, verify=True))).to(context.device)
    kernel = gram.assemble(context, stored.panels)
    if extra:
        every = np.array(positions, dtype=np.int64)
        old, new = (PoolItems(context, stored.chunks, part) for part in (every[:base], every[base:]))
        kernel, outputs = _extended(engine, kernel, outputs, old, new)
    known = outputs.shape[1]
    outputs = widened(outputs, stored.classes)

    def label_of(position: int) -> int:
        # An item withdrawn since has no class any more: any will do until catch_up takes it out again.
        item = stored.standing.get(position)
        return item.label if item is not None and item.label is not None else 0

    labeled = {position for position, item in stored.standing.items() if item.label is not None}
    assert stored.state.ridge is not None
    posterior = gram.posterior(
        context,
        kernel,
        outputs,
        # As when the factor was made: rows appended to it get what its diagonal needed then.
        stored.state.ridge + stored.state.jitter,
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
        known=known,
        positions=positions,
        candidates_at_first=base - stored.state.labeled_count + len(extra),
        # Of items whose labels are yet to be taken in, none is left to suggest.
        whole_pool=sum(positions[k] not in labeled for k in candidates) >= stored.unlabeled,
        applied_seq=stored.state.applied_seq,
        revision=stored.state.revision,
        jitter=stored.state.jitter,
    )


def _extended(
    engine: Kernel, kernel: torch.Tensor, outputs: torch.Tensor, old: PoolItems, new: PoolItems
) -> tuple[torch.Tensor, torch.Tensor]:
    """The Gram matrix and outputs of the old items with the new ones appended."""
    size, grown = len(old), len(old) + len(new)
    matrix = torch.empty((grown, grown), dtype=kernel.dtype, device=kernel.device)
    matrix[:size, :size] = kernel
    matrix[:size, size:] = engine.cross(old, new)
    matrix[size:, :size] = matrix[:size, size:].mT
    matrix[size:, size:] = engine.gram(new)
    return matrix, torch.cat([outputs, engine.outputs(new)])
