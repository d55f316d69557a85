"""A worker in a thread, driven by what Postgres says is queued."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import torch

from embedded.deployment import Deployment
from embedded.servers import Postgres
from store.artifacts import Artifacts
from store.tables import Job
from tests.databases import Databases, administrator
from worker.context import Context
from worker.jobs import run_in
from worker.training import fit


def run_queued(context: Context) -> int:
    """Run every queued job; returns how many."""
    with context.sessions.begin() as session:
        waiting = list(session.scalars(sa.select(Job.id).where(Job.status == "queued").order_by(Job.created_at)))
    for job_id in waiting:
        run_in(context, job_id)
    return len(waiting)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As many training steps as the epochs say and no more, on one thread: tests' networks are too small for two."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(fit, "STEPS_MIN", 1)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


@pytest.fixture
def elsewhere(postgres: Postgres, databases: Databases, tmp_path: Path) -> Iterator[Deployment]:
    """An empty database, and a folder for artifacts."""
    name = f"restored_{os.urandom(8).hex()}"
    with administrator(postgres) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield Deployment(databases.url(name), Artifacts(f"file://{tmp_path}/elsewhere"), postgres.binaries())
    databases.drop(name)
