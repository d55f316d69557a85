"""What is left of deleted projects: live states are let go, jobs end, rows and artifacts go."""

import logging
import time

from sqlalchemy.exc import IntegrityError

from store import deletion, jobs
from store.database import relax_durability
from worker import queue
from worker.context import Context

log = logging.getLogger(__name__)

# Of each sweep: what else the sweeper looks after must not wait for long.
SECONDS_MAX = 1.0


def sweep(context: Context) -> int:
    """Remove what one turn has time for; returns how many rows. Raises as database, queue and artifacts do."""
    _let_go(context)
    with context.sessions.begin() as session:
        pending = deletion.pending(session)
    removed, until = 0, time.monotonic() + SECONDS_MAX
    for project_id in pending:
        if not _has_ended(context, project_id):
            continue
        try:
            removed += _removed(context, project_id, until)
        except IntegrityError as error:
            # Figures that were under way have come to rest on rows that were about to go: next time they go first.
            log.info("what is left of deleted project %d is removed later: %s", project_id, type(error).__name__)
    return removed


def _let_go(context: Context) -> None:
    """Forget live states of projects that are deleted; their leases are renewed no more."""
    warm = context.live.projects()
    if not warm:
        return
    with context.sessions.begin() as session:
        gone = deletion.gone_among(session, warm)
    for project_id in gone:
        context.live.drop(project_id, "deleted")


def _has_ended(context: Context, project_id: int) -> bool:
    """Whether no job runs for the project any more. Those that came while it was being deleted are cancelled too."""
    with context.sessions.begin() as session:
        relax_durability(session)
        ended, stopping = jobs.cancel_all(session, project_id)
    for job_id in ended:
        queue.signal_end(context.redis, job_id)
    return stopping == 0


def _removed(context: Context, project_id: int, until: float) -> int:
    total = 0
    while time.monotonic() < until and not context.stopping.is_set():
        removed = deletion.remove_batch(context.sessions, context.artifacts, project_id)
        if removed is None:
            break
        if removed == 0:
            log.info("nothing is left of deleted project %d", project_id)
            break
        total += removed
    return total
