"""A database that goes away, cancels that meet the end of a job, and clocks."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from store import jobs
from store.database import is_away, losses
from store.tables import Job
from tests import factories
from tests.api import Api, assert_problem
from tests.worker.conftest import run_queued
from tests.worker.test_recovery import claimed
from tests.worker.trainings import job_of
from worker.context import Context
from worker.jobs import run_in
from worker.progress import Reporter


@pytest.fixture
def waiting(api: Api) -> str:
    """A project whose checkpoint waits to be prepared; the job's id."""
    api.project()
    api.pool(items=40)
    job_id: str = api.mlp()["id"]
    return job_id


# The database is away


def test_a_database_that_goes_away_costs_no_attempt_and_ends_no_job(
    api: Api, waiting: str, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Reporter.advance
    cut: list[int] = []

    def cut_then_advance(self: Reporter, units: int = 1) -> None:
        if not cut:
            cut.append(disconnect(worker))
            with worker.sessions.begin() as session:
                session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        advance(self, units)

    monkeypatch.setattr(Reporter, "advance", cut_then_advance)
    run_in(worker, waiting)
    back = job_of(api, waiting)
    assert (back["status"], back["attempt"], back["error"]) == ("queued", 0, None)
    assert run_queued(worker) == 1
    done = job_of(api, waiting)
    assert (done["status"], done["attempt"]) == ("succeeded", 1)


def disconnect(context: Context) -> int:
    """End every connection to the test's database but the one that does it; returns how many there were."""
    url = context.sessions.kw["bind"].url
    # Waits for each: a backend that was only told to end still takes a statement.
    ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(host=str(url.query["host"]), user="app", dbname="postgres", autocommit=True) as connection:
        return len(connection.execute(ended, [url.database]).fetchall())


def test_connections_that_the_server_ended_are_replaced_unseen(worker: Context) -> None:
    open_ones = [worker.sessions() for _ in range(4)]
    for session in open_ones:
        session.execute(sa.text("SELECT 1"))
    for session in open_ones:
        session.close()
    with worker.sessions.begin() as session:
        before = losses(session)
    assert disconnect(worker) >= 4
    for _ in range(6):
        with worker.sessions.begin() as session:
            assert session.scalar(sa.text("SELECT 1")) == 1
            assert losses(session) > before


def test_a_server_that_was_started_again_is_not_trusted_to_have_kept_everything(
    api: Api, waiting: str, worker: Context
) -> None:
    run_queued(worker)

    def suggested() -> None:
        job = api.suggest(headers={"Prefer": "wait=0"}).json()
        run_queued(worker)
        assert job_of(api, job["id"])["status"] == "succeeded"

    suggested()
    (before,) = worker.live._states.values()
    suggested()
    assert list(worker.live._states.values()) == [before]
    disconnect(worker)
    suggested()
    (after,) = worker.live._states.values()
    assert after is not before


def test_errors_that_waiting_cannot_mend_are_no_absence(worker: Context) -> None:
    for statement in ("SELECT 1 / 0", "SELECT nothing", "SELECT * FROM nowhere"):
        with pytest.raises(sa.exc.DBAPIError) as caught, worker.sessions.begin() as session:
            session.execute(sa.text(statement))
        assert not is_away(caught.value)
    assert not is_away(ValueError())


# Cancel meets the end


def test_who_was_told_that_a_job_will_stop_does_not_see_it_succeed(
    api: Api, waiting: str, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = jobs.finish

    def cancelled_first(session: Any, job: Job, status: str, **more: Any) -> bool:
        if status == "succeeded":
            assert api.post(f"/jobs/{job.id}/cancel").json()["status"] == "running"
        return finish(session, job, status, **more)

    monkeypatch.setattr(jobs, "finish", cancelled_first)
    run_in(worker, waiting)
    assert job_of(api, waiting)["status"] == "cancelled"
    assert api.get("/projects/p").json()["kernel_state"] is None
    monkeypatch.undo()
    # An empty pool's preparation ends in another place.
    api.project("empty")
    job_id = api.checkpoint(
        factories.mlp(6, [16, 8], 3), "empty", options={"in_features": 6, "hidden": [16, 8]}
    ).json()["id"]
    monkeypatch.setattr(jobs, "finish", cancelled_first)
    run_in(worker, job_id)
    assert job_of(api, job_id)["status"] == "cancelled"


def test_a_cancel_that_comes_as_the_job_ends_is_told_so(
    api: Api, waiting: str, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_cancel = jobs.request_cancel

    def ended_first(session: Any, job_id: str) -> None:
        run_in(worker, job_id)
        request_cancel(session, job_id)

    monkeypatch.setattr(jobs, "request_cancel", ended_first)
    assert_problem(api.post(f"/jobs/{waiting}/cancel"), 409, "job_finished", "succeeded")
    assert api.get("/projects/p").json()["kernel_state"] is not None


def test_a_job_put_back_after_it_was_cancelled_ends(api: Api, waiting: str, worker: Context) -> None:
    job = claimed(worker, waiting, worker.name)
    assert api.post(f"/jobs/{waiting}/cancel").json()["status"] == "running"
    with worker.sessions.begin() as session:
        assert jobs.put_back(session, job)
    assert job_of(api, waiting)["status"] == "cancelled"


# Clocks


def test_the_time_left_is_reckoned_from_the_databases_clock_alone(api: Api, waiting: str, worker: Context) -> None:
    job = claimed(worker, waiting)
    with worker.sessions.begin() as session:
        assert jobs.report(session, job, stage="kernel", done=2, total=8, unit="panels")
        session.execute(sa.update(Job).values(started_at=Job.heartbeat_at - timedelta(seconds=10)))
    assert job_of(api, waiting)["eta_seconds"] == 30
    with worker.sessions.begin() as session:
        session.execute(sa.update(Job).values(started_at=Job.heartbeat_at + timedelta(hours=1)))
    assert job_of(api, waiting)["eta_seconds"] is None
