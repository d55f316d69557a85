"""Figures of kernel models, made between requests by a thread of its own and written beside them.

Histograms of scores, predicted classes, the spectrum of a window that has grown, accuracy on held-out items.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from sqlalchemy.exc import SQLAlchemyError

from ntk.diagnostics import spectrum
from ntk.errors import NTKError
from store import held_out, insights
from store.database import relax_durability
from store.errors import StoreError
from store.tables import Json
from worker.context import Context
from worker.errors import JobError, ShuttingDownError
from worker.held_out import HeldOut
from worker.insights import Gathered, Scored

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
BINS = 30
SPECTRUM_ITEMS = 512
# Up to this many labels the condition number is computed after every catch-up.
CONDITION_LABELS = 256
# Kernels of held-out items with labeled ones, of all projects together.
_HELD_OUT_BYTES = 512 << 20
# Judging takes at most so large a share of the time, and waits so long for a request to end before each tile.
_SHARE = 0.1
_PATIENCE_SECONDS = 0.25
# When nobody has asked for so long, nobody is disturbed.
_QUIET_SECONDS = 3.0
_STATES_MAX = 64
T = TypeVar("T")


class Figures:
    """Makes figures of what a worker has gathered. One thread at a time."""

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._held: OrderedDict[int, HeldOut] = OrderedDict()
        self._told: OrderedDict[int, torch.Tensor] = OrderedDict()  # predictions that are written already
        self._judged: OrderedDict[int, tuple[int, int]] = OrderedDict()  # (label_seq, changes of the known classes)
        self._conditioned: OrderedDict[int, int] = OrderedDict()  # label_seq
        self._judge_at = 0.0
        self._waited = 0.0  # for requests, since the last judging began
        self._heard, self._heard_at = 0, clock()

    def flush(self, *, at_once: bool = True) -> None:
        """Work out what was gathered and write it. Raises SQLAlchemyError.

        Without `at_once`, judging on held-out items keeps out of the way of requests: while they come, to its share
        of the time.
        """
        quiet = self._quiet()
        judging = at_once or quiet or self._clock() >= self._judge_at
        states, scored = self._context.insights.take(states=judging)
        for state_id in states.keys() | scored.keys():
            self._write(state_id, states.get(state_id), scored.get(state_id))
        if judging:
            began, self._waited = self._clock(), 0.0
            for state_id, state in states.items():
                self._judge(state_id, state, polite=not at_once)
            ended = self._clock()
            self._judge_at = ended + (ended - began - self._waited) * (1 / _SHARE - 1)

    def _quiet(self) -> bool:
        now, heard = self._clock(), self._context.insights.heard
        if heard != self._heard or self._context.live.busy():
            self._heard, self._heard_at = heard, now
        return now - self._heard_at >= _QUIET_SECONDS

    def _write(self, state_id: int, state: Gathered | None, scored: Scored | None) -> None:
        found: Json = {}
        if scored is not None:
            found["scores"] = histogram(scored)
        if state is not None and self._told.get(state_id) is not state.predicted:
            _remember(self._told, state_id, state.predicted)
            found["predicted"] = by_class(state.predicted, state.classes)
        if state is not None and state.gram is not None:
            found |= self._of_kernel(state_id, state, state.gram)
            # Not kept until the next time: the live state may be gone by then.
            state.gram, state.grown = None, False
        if any(value is not None for value in found.values()):
            with self._context.sessions.begin() as session:
                relax_durability(session)
                insights.write(session, state_id, **found)

    def _of_kernel(self, state_id: int, state: Gathered, gram: torch.Tensor) -> Json:
        found: Json = {}
        if state.grown:
            found["spectrum"] = spectrum_of(gram, int(state.options["seed"]))
        newest = next(reversed(state.catch_ups))
        if self._conditioned.get(state_id) != newest:
            _remember(self._conditioned, state_id, newest)
            found["condition"] = condition_of(gram, state.catch_ups[newest].labeled, state.ridge)
        return found

    def _judge(self, state_id: int, state: Gathered, *, polite: bool) -> None:
        """Accuracy on held-out items after each catch-up that waits for it."""
        context, newest = self._context, next(reversed(state.catch_ups))
        with context.sessions.begin() as session:
            changes = held_out.changes(session, state.project_id)
        if changes == 0 or self._judged.get(state_id) == (newest, changes):
            return

        def tick() -> None:
            began = time.monotonic()
            while polite and context.live.busy() and time.monotonic() - began < _PATIENCE_SECONDS:
                time.sleep(0.002)
            self._waited += time.monotonic() - began
            if context.stopping.is_set():
                raise ShuttingDownError

        try:
            accuracies = self._accuracies(state_id, state, changes, tick)
        except ShuttingDownError:
            return
        except (NTKError, StoreError, JobError, torch.OutOfMemoryError) as error:
            # Whoever asks for predictions meets the same and gets to know it.
            log.info("state %d is not judged on held-out items: %s", state_id, error)
            return
        with context.sessions.begin() as session:
            relax_durability(session)
            held_out.record(session, state_id, accuracies)
        _remember(self._judged, state_id, (newest, changes))

    def _accuracies(
        self, state_id: int, state: Gathered, changes: int, tick: Callable[[], None]
    ) -> dict[int, float | None]:
        context, held = self._context, self._held.pop(state_id, None)
        if held is None or held.changes != changes:
            held = HeldOut.read(context, state.project_id, state.checkpoint, state.options)
        found: dict[int, float | None] = {}
        for label_seq, catch_up in state.catch_ups.items():
            labeled = [state.positions[k] for k in catch_up.labeled.tolist()]
            found[label_seq] = held.accuracy(context, labeled, catch_up.alpha, tick)
        self._held[state_id] = held
        while len(self._held) > 1 and sum(kept.nbytes for kept in self._held.values()) > _HELD_OUT_BYTES:
            self._held.popitem(last=False)
        return found


def _remember(known: OrderedDict[int, T], state_id: int, value: T) -> None:
    known[state_id] = value
    if len(known) > _STATES_MAX:
        known.popitem(last=False)


def histogram(scored: Scored) -> Json | None:
    """Scores in bins of one width; None without a finite score. What is not finite is left out."""
    values = scored.scores.detach().double().cpu().numpy()
    values = values[np.isfinite(values)]
    if len(values) == 0 or not np.isfinite(values.max() - values.min()):
        return None
    counts, edges = np.histogram(values, BINS)
    return {
        "strategy": scored.strategy,
        "label_seq": scored.label_seq,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "smallest": float(values.min()),
        "median": float(np.median(values)),
        "largest": float(values.max()),
    }


def by_class(predicted: torch.Tensor, classes: int) -> list[int]:
    """How many candidates are predicted to be of each class; predicted (N,), -1 where an item is no candidate."""
    found: list[int] = torch.bincount(predicted[predicted >= 0].cpu(), minlength=classes).tolist()
    return found


def spectrum_of(gram: torch.Tensor, seed: int) -> Json:
    """The spectrum of a window's kernel (N, N), of all items or of a sample. Raises NonFiniteError."""
    values = spectrum(gram, torch.Generator().manual_seed(seed), SPECTRUM_ITEMS)
    return {"eigenvalues": values.cpu().tolist(), "items": len(values)}


def condition_of(gram: torch.Tensor, labeled: torch.Tensor, ridge: float) -> float | None:
    """Condition number of the matrix that the labels' equations are solved with; None without labels, and past 256."""
    if not 0 < len(labeled) <= CONDITION_LABELS:
        return None
    values = torch.linalg.eigvalsh(gram.index_select(0, labeled).index_select(1, labeled).double()) + ridge
    return float(values[-1] / values[0]) if float(values[0]) > 0 else None


def start(context: Context) -> threading.Thread:
    """Flush every second until the worker stops, and once more then."""

    def loop() -> None:
        figures = Figures(context)
        while True:
            stopped = context.stopping.wait(EVERY_SECONDS)
            try:
                figures.flush(at_once=False)
            except SQLAlchemyError as error:
                log.info("figures could not be written: %s", type(error).__name__)
            except Exception as error:
                # Nothing rests on these figures: whatever it was, suggestions go on.
                log.warning("figures: %s", error, exc_info=error)
            if stopped:
                return

    thread = threading.Thread(target=loop, name="figures", daemon=True)
    thread.start()
    return thread
