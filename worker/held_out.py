"""Accuracy on held-out items whose class is known, label after label.

Such an item x is predicted as any item outside the window: f(x) = f0(x) + K(x, L) α. What a label adds is one column
of K(·, L); those of labels that came together are computed together. Of a kernel that is made of gradients, a column
costs the gradients of every held-out item: that is work for the time between requests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ntk.kernel import Kernel, tile_plan
from ntk.regression import widened
from store import held_out, pools
from store.tables import Checkpoint, Json
from worker.context import Context
from worker.kernels import PoolItems, open_kernel

Tensor = torch.Tensor
# Held-out items whose kernel is computed between two looks at what else is to be done.
ITEMS_PER_TILE = 128
_NEW_COLUMNS = 1024


@dataclass
class HeldOut:
    """The held-out items of a kernel state, their network outputs, and their kernel with the labeled items."""

    project_id: int
    checkpoint: Checkpoint
    options: Json  # of the kernel
    changes: int  # of the known classes when they were read
    positions: list[int]
    truth: Tensor  # (H,)
    known: Tensor | None = None  # (H, C') outputs of the checkpoint
    columns: Tensor = field(default_factory=lambda: torch.zeros((0, 0), dtype=torch.float64))  # (capacity, H)
    rows: dict[int, int] = field(default_factory=dict)  # of `columns`, by the labeled item's position
    engine: Kernel | None = None

    @classmethod
    def read(
        cls, context: Context, project_id: int, checkpoint: Checkpoint, options: Json, engine: Kernel | None = None
    ) -> "HeldOut":
        """The items as the database has them now, nothing computed yet; `engine` is opened if none is given."""
        with context.sessions.begin() as session:
            changes = held_out.changes(session, project_id)
            found = held_out.sample(session, project_id, int(options["seed"])) if changes else []
        truth = torch.tensor([label for _, label in found], dtype=torch.long, device=context.device)
        return cls(project_id, checkpoint, options, changes, [position for position, _ in found], truth, engine=engine)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.columns.nbytes

    def accuracy(
        self, context: Context, labeled: Sequence[int], alpha: Tensor, tick: Callable[[], None]
    ) -> float | None:
        """Share of the items whose largest output is that of their class; None without items."""
        if not self.positions:
            return None
        predicted = self.outputs(context, labeled, alpha, tick).argmax(dim=1)
        return float((predicted == self.truth).double().mean())

    def outputs(
        self,
        context: Context,
        labeled: Sequence[int],  # positions of the labeled items, in factor order
        alpha: Tensor,  # (n, C)
        tick: Callable[[], None],
    ) -> Tensor:
        """(H, C) linearized outputs. `tick` is called between tiles; what it raises is passed on."""
        if self.known is None:
            self.known = self._network_outputs(context, tick)
        base = widened(self.known, alpha.shape[1])
        if not len(labeled):
            return base
        self._compute(context, [position for position in labeled if position not in self.rows], tick)
        at = [self.rows[position] for position in labeled]
        in_order = at == list(range(len(at)))
        kernel = self.columns[: len(at)] if in_order else self.columns[torch.tensor(at, device=self.columns.device)]
        return base + kernel.mT @ alpha

    def _network_outputs(self, context: Context, tick: Callable[[], None]) -> Tensor:
        engine, inputs = self._opened(context), self._inputs(context, self.positions)
        parts = []
        for start, stop in tile_plan(len(inputs), ITEMS_PER_TILE):
            parts.append(engine.outputs(inputs[start:stop]))
            tick()
        return torch.cat(parts)

    def _compute(self, context: Context, new: Sequence[int], tick: Callable[[], None]) -> None:
        """The kernel of all held-out items with these labeled ones."""
        for first, last in tile_plan(len(new), _NEW_COLUMNS):
            self._compute_block(context, new[first:last], tick)

    def _compute_block(self, context: Context, new: Sequence[int], tick: Callable[[], None]) -> None:
        engine, inputs, others = (
            self._opened(context),
            self._inputs(context, self.positions),
            self._inputs(context, new),
        )
        block = torch.empty((len(new), len(inputs)), dtype=torch.float64, device=context.device)
        for start, stop in tile_plan(len(inputs), ITEMS_PER_TILE):
            part = PoolItems(context, inputs.chunks, inputs.positions[start:stop])
            block[:, start:stop] = engine.cross(part, others).mT
            tick()
        used = len(self.rows)
        if used + len(new) > len(self.columns):
            grown = torch.empty(
                (max(64, 2 * used, used + len(new)), len(inputs)), dtype=torch.float64, device=context.device
            )
            if used:
                grown[:used] = self.columns[:used]
            self.columns = grown
        self.columns[used : used + len(new)] = block
        self.rows.update((position, used + k) for k, position in enumerate(new))

    def _opened(self, context: Context) -> Kernel:
        # Not the live state's: that one may be in use by another thread.
        if self.engine is None:
            self.engine = open_kernel(context, self.checkpoint, self.options)
        return self.engine

    def _inputs(self, context: Context, positions: Sequence[int]) -> PoolItems:
        with context.sessions.begin() as session:
            chunks = pools.chunks(session, self.project_id)
        return PoolItems(context, chunks, np.array(positions, dtype=np.int64))
