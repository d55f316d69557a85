"""The current kernel model of a project: found or loaded, and brought up to the last label."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from store import labels
from store.errors import LeasedMeanwhileError, StaleStateError
from store.states import Advance
from store.tables import KernelState, Project
from worker.context import Context
from worker.errors import JobError
from worker.live import Live

_TRIES = 4
T = TypeVar("T")
Current = tuple[Live, Advance | None]


@contextmanager
def synchronised(context: Context, project_id: int) -> Iterator[Current]:
    """(live state, what it changed and the caller must write).

    The live state survives only if the block ends well: write the change and whatever rests on it in one
    transaction inside the block. Raises JobError `not_prepared`.
    """
    with context.sessions.begin() as session:
        state_id = session.get_one(Project, project_id).active_state_id
        if state_id is None:
            raise JobError("not_prepared", "no kernel state is prepared yet: upload a checkpoint")
        applied = context.live.applied_seq(state_id)
        if applied is None:
            applied = session.get_one(KernelState, state_id).applied_seq
        label_seq, items = labels.touched(session, project_id, applied)
    with context.live.use(context, state_id) as live:
        if live.applied_seq != applied:
            # Loaded just now, and another worker had moved on in between.
            with context.sessions.begin() as session:
                label_seq, items = labels.touched(session, project_id, live.applied_seq)
        yield live, live.catch_up(context, label_seq, items)


def retried(attempt: Callable[[], T]) -> T:
    """Try again when another worker was faster: with its rows, or without the items it leased."""
    for tries_left in range(_TRIES - 1, -1, -1):
        try:
            return attempt()
        except (StaleStateError, LeasedMeanwhileError):
            if tries_left == 0:
                raise
    raise AssertionError("unreachable")
