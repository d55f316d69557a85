"""The current kernel model of a project: found or loaded, and brought up to the last label."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from ntk.errors import NTKError
from store import classes, labels, states
from store.database import losses, relax_durability
from store.errors import ArtifactError, LeasedMeanwhileError, StaleStateError, StoreError
from store.tables import KernelState, Project
from worker import repair, warm
from worker.context import Context
from worker.errors import CancelledError, JobError
from worker.live import Live
from worker.progress import Reporter

log = logging.getLogger(__name__)
# Each failure means that another request was served: many annotators may want the same item at the same moment.
_TRIES = 16
_REASONS: dict[type[StoreError], str] = {StaleStateError: "stale_state", LeasedMeanwhileError: "leased_meanwhile"}
T = TypeVar("T")
_together = threading.local()


@contextmanager
def synchronised(context: Context, project_id: int, reporter: Reporter | None = None) -> Iterator[Live]:
    """The project's live state, current to its last label, for this thread alone while the block runs.

    What it took in is in Postgres when the block begins, by this worker's hand or another's; what happens inside
    costs nobody the warm state. Raises JobError `not_prepared`, `artifact_lost` or `too_large`; CancelledError where
    the project was deleted; what the reporter raises between blocks of many labels.
    """
    with context.live.alone(project_id):
        shared: Live | None = getattr(_together, "live", None)
        if shared is not None and shared.project_id == project_id and context.live.keeps(shared):
            yield shared
            return
        with context.sessions.begin() as session:
            context.live.heed(losses(session))
            state_id = _active_state(session, project_id)
            applied = context.live.applied_seq(state_id)
            if was_cold := applied is None:
                applied = session.get_one(KernelState, state_id).applied_seq
            label_seq, items = labels.touched(session, project_id, applied)
            # After the labels: one of them may be of a class that was added a moment ago.
            count = classes.count(session, project_id)
        try:
            if was_cold:
                # Before it is loaded: requests that come meanwhile are to wait here and not to be loaded elsewhere.
                _hold(context, project_id)
            with context.live.use(context, state_id) as live:
                if live.applied_seq != applied:
                    # Loaded just now, and another worker had moved on in between.
                    with context.sessions.begin() as session:
                        label_seq, items = labels.touched(session, project_id, live.applied_seq)
                        count = classes.count(session, project_id)
                change = live.catch_up(context, label_seq, items, count, reporter)
                if change is not None:
                    with context.sessions.begin() as session:
                        # Rows that are lost with the server are computed again from the labels, which are not.
                        relax_durability(session)
                        age = states.advance(session, state_id, change)
                    live.took_in(age)
                context.insights.caught_up(live)
        except ArtifactError as error:
            raise repair.begun(context, state_id, error) from error
        except StaleStateError as error:
            # Another worker wrote first. What was computed here knows the same labels: it answers, and is not kept.
            log.info("project %d: %s", project_id, error)
        if hasattr(_together, "live"):
            _together.live = live
        yield live


def _active_state(session: Session, project_id: int) -> int:
    project = session.get(Project, project_id)
    if project is None or project.deleted_at is not None:
        raise CancelledError
    if project.active_state_id is None:
        raise JobError("not_prepared", "no kernel state is prepared yet: upload a checkpoint")
    return project.active_state_id


@contextmanager
def together() -> Iterator[None]:
    """Requests that this thread serves inside the block share the first one's catch-up.

    Only for requests that had all arrived when the block began: each knows every label that was there when it came.
    """
    _together.live = None
    try:
        yield
    finally:
        del _together.live


def _hold(context: Context, project_id: int) -> None:
    if not context.serves_inbox:
        return
    try:
        warm.hold(context.redis, context.name, project_id)
    except RedisError as error:
        log.warning("no lease on project %d: %s", project_id, error)


def freshen(context: Context, project_id: int) -> None:
    """Take in new labels ahead of the next request, if the project is warm here and nothing uses it now."""
    if not context.live.idle(project_id):
        return
    try:
        with synchronised(context, project_id):
            pass
    except (JobError, NTKError, CancelledError) as error:
        # Whoever asks next meets the same and gets to know it.
        log.info("project %d was not freshened: %s", project_id, error)


def retried(context: Context, attempt: Callable[[], T]) -> T:
    """Try again when another worker was faster: without the items it leased, or with what it learned."""
    for tries_left in range(_TRIES - 1, -1, -1):
        try:
            return attempt()
        except (StaleStateError, LeasedMeanwhileError) as error:
            context.metrics.retries.labels(_REASONS[type(error)]).inc()
            if tries_left == 0:
                raise
    raise AssertionError("unreachable")
