"""A worker in a thread, driven by what Postgres says is queued."""

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from store.tables import Job
from worker.context import Context
from worker.jobs import run_in


def run_queued(context: Context) -> int:
    """Run every queued job; returns how many."""
    with context.sessions.begin() as session:
        waiting = list(session.scalars(sa.select(Job.id).where(Job.status == "queued").order_by(Job.created_at)))
    for job_id in waiting:
        run_in(context, job_id)
    return len(waiting)


@pytest.fixture
def working(worker: Context) -> Iterator[Context]:
    """Runs jobs as they come, until the test is over."""

    def loop() -> None:
        while not worker.stopping.is_set():
            if not run_queued(worker):
                worker.stopping.wait(0.005)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    yield worker
    worker.stopping.set()
    thread.join(10)
