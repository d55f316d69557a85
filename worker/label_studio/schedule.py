"""When connections to Label Studio get their jobs: after labels, after new kernel states, and now and then."""

import logging

import sqlalchemy as sa

from store import jobs, label_studio
from store.tables import Job
from worker import queue
from worker.context import Context

log = logging.getLogger(__name__)

# So many readings of what changed go between two comparisons of everything.
COMPARED_EVERY = 12


def start_due(context: Context) -> int:
    """Start a job for every connection that needs one and has none; returns how many. Raises as the database does."""
    with context.sessions.begin() as session:
        started: list[Job] = []
        now = session.scalar(sa.select(sa.func.statement_timestamp()))
        assert now is not None
        for due in label_studio.due(session):
            connection = due.connection
            if label_studio.open_job(session, connection.id) is not None:
                continue
            compared = connection.compared_at
            arguments = {
                "connection": connection.id,
                "sync": due.sync,
                "everything": compared is None or now - compared >= COMPARED_EVERY * context.label_studio_every,
                "order": due.order,
            }
            if due.order:
                connection.order_due_at = None
            if due.sync:
                connection.sync_due_at = now + context.label_studio_every
            started.append(
                jobs.create(
                    session,
                    kind=label_studio.KIND,
                    project_id=connection.project_id,
                    queue=queue.BULK,
                    arguments=arguments,
                )
            )
    for job in started:
        queue.enqueue(context.redis, job.queue, job.id)
    return len(started)
