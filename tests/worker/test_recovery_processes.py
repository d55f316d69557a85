"""Real worker processes under real servers, each killed in turn while jobs run."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from embedded.process import python_environment, wait_until
from embedded.servers import Postgres, Server, Valkey
from migrations.__main__ import upgrade
from service.app import create_app
from service.settings import ServiceSettings
from store.tables import Job, KernelPanel, KernelState
from tests.api import Api, Json
from tests.worker.trainings import job_of

# Panels of 6 rows that take their time; each is told.
SLOW_WORKER = """
import sys, time
from ntk.kernels import KernelEngine
from worker import prepare
prepare.PANEL_ROWS = 6
panel = KernelEngine._panel
def slow(self, x, ranges, start, *more):
    print("panel", start, flush=True)
    time.sleep(0.25)
    return panel(self, x, ranges, start, *more)
KernelEngine._panel = slow
from worker.main import main
sys.exit(main(["--queues", "interactive,bulk"]))
"""


@dataclass
class House:
    """The servers, a client and two workers."""

    postgres: Postgres
    valkey: Valkey
    api: Api
    workers: list[subprocess.Popen[bytes]]
    logs: list[Path]

    def rows(self, query: sa.Select[Any]) -> list[Any]:
        with self.api.client.app.state.context.sessions.begin() as session:  # type: ignore[attr-defined]
            return list(session.scalars(query))

    def panels(self, state: int) -> list[Any]:
        """First rows of the finished panels of the n-th state."""
        states = self.rows(sa.select(KernelState.id).order_by(KernelState.id))
        if len(states) < state:
            return []
        query = sa.select(KernelPanel.row_start).where(KernelPanel.state_id == states[state - 1])
        return sorted(self.rows(query))

    def computed(self, worker: int) -> list[int]:
        """First rows of the panels that a worker has computed."""
        lines = self.logs[worker].read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("panel ")]

    def job(self, job_id: str) -> Json:
        return job_of(self.api, job_id)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    place = Path(tempfile.mkdtemp(prefix="lh-"))
    place.chmod(0o755)
    workers: list[subprocess.Popen[bytes]] = []
    with Postgres(place) as postgres, Valkey(place) as valkey:
        upgrade(postgres.url)
        settings = ServiceSettings(
            database_url=postgres.url, redis_url=valkey.url, artifacts_url=f"file://{place}/artifacts"
        )
        environment = python_environment(os.environ) | {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "ARTIFACTS_URL": settings.artifacts_url,
            "LOOKAHEAD_THREADS": "1",
            "LOOKAHEAD_DEVICE": "cpu",
        }
        logs = [place / f"worker-{k}.log" for k in range(2)]
        for log in logs:
            with log.open("wb") as output:
                command = [sys.executable, "-c", textwrap.dedent(SLOW_WORKER)]
                workers.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
        try:
            with TestClient(create_app(settings), raise_server_exceptions=False) as client:
                made = House(postgres, valkey, Api(client), workers, logs)
                made.api.project()
                made.api.pool(items=24)
                yield made
        finally:
            for process in workers:
                process.kill()
                process.wait()
    shutil.rmtree(place, ignore_errors=True)


def until(condition: Callable[[], bool], seconds: float = 60) -> float:
    """How long it took."""
    started = time.monotonic()
    assert wait_until(condition, seconds)
    return time.monotonic() - started


def kill(server: Server) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not server.alive())


def test_one_after_the_other_is_killed(house: House) -> None:
    survivor = _a_worker_is_killed(house)
    _the_queue_is_killed(house)
    _the_queue_is_wiped(house)
    _the_database_is_killed(house)
    # Through all of it the process stayed, and it still ends in order.
    assert survivor.poll() is None
    survivor.terminate()
    assert survivor.wait(20) == 0


def _a_worker_is_killed(house: House) -> subprocess.Popen[bytes]:
    job_id = house.api.mlp(seed=1)["id"]
    until(lambda: len(house.panels(1)) >= 2)
    victim = 0 if house.computed(0) else 1
    house.workers[victim].kill()
    finished = house.panels(1)
    assert until(lambda: bool(house.job(job_id)["attempt"] == 2)) < 5
    until(lambda: bool(house.job(job_id)["status"] == "succeeded"))
    # The second went on where the first had stopped.
    assert finished
    assert set(house.computed(1 - victim)).isdisjoint(finished)
    assert house.panels(1) == [0, 6, 12, 18]
    return house.workers[1 - victim]


def _the_queue_is_killed(house: House) -> None:
    job_id = house.api.mlp(seed=2)["id"]
    until(lambda: len(house.panels(2)) >= 1)
    kill(house.valkey)
    # The job does not need the queue to end.
    until(lambda: bool(house.job(job_id)["status"] == "succeeded"))
    assert house.job(job_id)["attempt"] == 1
    house.valkey.start()
    until(lambda: house.api.suggest().status_code == 200, 20)


def _the_queue_is_wiped(house: House) -> None:
    running, waiting = house.api.mlp(seed=3)["id"], house.api.mlp(seed=4)["id"]
    until(lambda: bool(house.job(running)["status"] == "running"))
    house.api.client.app.state.context.redis.flushall()  # type: ignore[attr-defined]
    until(lambda: bool(house.job(waiting)["status"] == "succeeded"))
    assert [house.job(job_id)["attempt"] for job_id in (running, waiting)] == [1, 1]


def _the_database_is_killed(house: House) -> None:
    job_id = house.api.mlp(seed=5)["id"]
    until(lambda: len(house.panels(5)) >= 2)
    kill(house.postgres)
    assert house.api.get("/projects").status_code == 503
    time.sleep(1.5)
    house.postgres.start()
    # Every request from now on works, whatever the pool held.
    assert [house.api.get("/projects/p").status_code for _ in range(5)] == [200] * 5
    finished = house.panels(5)
    until(lambda: bool(house.job(job_id)["status"] == "succeeded"))
    done = house.job(job_id)
    assert (done["attempt"], done["error"]) == (1, None)
    assert len(finished) >= 2
    assert house.rows(sa.select(Job.id).where(Job.status.not_in(["succeeded"]))) == []
