"""What a worker can tell of its kernel models beside the answers: gathered where it arises, without any work.

A request leaves references to what it has computed anyway; `worker.figures` makes figures of them between requests.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from store.tables import Checkpoint, Json

if TYPE_CHECKING:
    from worker.live import Live

# Catch-ups that wait to be judged on held-out items; of more, the oldest are forgotten.
WAITING_MAX = 256
# Windows up to this size are told anew whenever they grow; larger ones when they have grown by a tenth.
SMALL_WINDOW = 512
_GROWTH = 1.1
_SIZES_MAX = 1024


@dataclass(frozen=True)
class CatchUp:
    """A kernel model after a catch-up: none of these tensors is changed in place afterwards."""

    labeled: torch.Tensor  # (n,) window indices, in factor order
    alpha: torch.Tensor  # (n, C)


@dataclass
class Gathered:
    """What is new of one kernel state since the last time."""

    project_id: int
    checkpoint: Checkpoint
    options: Json  # of the kernel
    positions: list[int]  # of the window's items; grows at its end only
    predicted: torch.Tensor  # (N,) class of each candidate, -1 for other items
    classes: int
    gram: torch.Tensor | None  # (N, N); None once it was looked at
    ridge: float
    grown: bool  # whether the window is larger than when its spectrum was told
    catch_ups: OrderedDict[int, CatchUp] = field(default_factory=OrderedDict)  # by label_seq


@dataclass(frozen=True)
class Scored:
    """The scores behind a suggestion."""

    strategy: str
    label_seq: int
    scores: torch.Tensor  # (m,)


class Insights:
    """Threads of requests put things in, one other takes them out."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._states: dict[int, Gathered] = {}
        self._scored: dict[int, Scored] = {}
        self._sizes: OrderedDict[int, int] = OrderedDict()  # of windows, when they were last told
        self.heard = 0  # how often something was put in

    def scored(self, state_id: int, strategy: str, label_seq: int, scores: torch.Tensor | None) -> None:
        """A suggestion was made from these scores (m,) of all candidates; None: its strategy has none."""
        if scores is not None:
            with self._guard:
                self.heard += 1
                self._scored[state_id] = Scored(strategy, label_seq, scores)

    def caught_up(self, live: "Live") -> None:
        """A live state is current; call while nobody else changes it."""
        posterior = live.posterior
        with self._guard:
            self.heard += 1
            before = self._states.get(live.state_id)
            untold = before is not None and before.grown
            state = self._states[live.state_id] = Gathered(
                live.project_id,
                live.checkpoint,
                live.options,
                live.positions,
                live.predicted,
                posterior.classes,
                posterior.gram,
                posterior.ridge,
                self._has_grown(live.state_id, posterior.size) or untold,
                before.catch_ups if before is not None else OrderedDict(),
            )
            state.catch_ups[live.applied_seq] = CatchUp(posterior.labeled, posterior.alpha)
            if len(state.catch_ups) > WAITING_MAX:
                state.catch_ups.popitem(last=False)

    def _has_grown(self, state_id: int, size: int) -> bool:
        # The first time it is as large as when it was prepared, or nearly.
        known = self._sizes.setdefault(state_id, size)
        grown = size > known and (size <= SMALL_WINDOW or size > _GROWTH * known)
        if grown:
            self._sizes[state_id] = size
        if len(self._sizes) > _SIZES_MAX:
            self._sizes.popitem(last=False)
        return grown

    def take(self, *, states: bool) -> tuple[dict[int, Gathered], dict[int, Scored]]:
        """What was gathered, by kernel state; the states stay unless they are asked for, to be taken later."""
        with self._guard:
            scored, self._scored = self._scored, {}
            found = dict(self._states)
            if states:
                self._states = {}
        return found, scored
