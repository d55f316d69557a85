"""Projects kept warm by one worker: leases, the inbox, and what happens to messages that are not taken."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from store.tables import Job
from tests.api import Api
from tests.worker.conftest import run_queued
from worker import lane, queue, warm
from worker.context import Context


@pytest.fixture
def project(api: Api, worker: Context) -> int:
    """A prepared project; returns its id."""
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    with worker.sessions.begin() as session:
        return session.query(Job).one().project_id


@pytest.fixture
def serving(worker: Context) -> Iterator[Context]:
    """A worker whose warm lane runs; nothing else serves the queues."""
    threads = lane.start(worker)
    yield worker
    worker.stopping.set()
    lane.close(worker, threads)
    assert not any(thread.is_alive() for thread in threads)


def suggest_from_the_queue(api: Api, worker: Context) -> None:
    """The first suggestion: no worker holds the project, so the common queue has it."""
    job = api.suggest(headers={"Prefer": "wait=0"}).json()["id"]
    assert (job, 0) in queue.waiting(worker.redis, queue.INTERACTIVE)
    run_queued(worker)


def test_a_warm_project_is_served_through_the_inbox(api: Api, project: int, serving: Context) -> None:
    suggest_from_the_queue(api, serving)
    assert serving.live.projects() == [project]
    answer = api.suggest(annotator="ann")
    assert answer.status_code == 200
    assert len(queue.waiting(serving.redis, queue.INTERACTIVE)) == 1  # the first one's, which nobody took from there


def test_labels_are_taken_in_before_anybody_asks(api: Api, project: int, serving: Context) -> None:
    suggest_from_the_queue(api, serving)
    with serving.live.alone(project):
        pass
    assert api.label("item-1", "a").json()["seq"] == 1
    deadline = time.monotonic() + 10
    while api.get("/projects/p").json()["kernel_state"]["applied_seq"] < 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_newest_holder_wins_and_the_other_lets_go(
    api: Api, project: int, serving: Context, new_context: Callable[[], Context]
) -> None:
    suggest_from_the_queue(api, serving)
    other = new_context()
    warm.hold(other.redis, other.name, project)
    assert warm.ring(serving.redis, project, "job-x") == other.name
    assert warm.take(other.redis, other.name, 1) == ["job-x"]
    deadline = time.monotonic() + 10
    while serving.live.projects():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_stopping_worker_did_not_take_goes_to_the_common_queue(api: Api, project: int, worker: Context) -> None:
    worker.serves_inbox = True
    suggest_from_the_queue(api, worker)
    left = api.suggest(headers={"Prefer": "wait=0"}).json()["id"]
    assert warm.waits(worker.redis, project, left)
    worker.stopping.set()
    lane.close(worker, [])
    assert (left, 0) in queue.waiting(worker.redis, queue.INTERACTIVE)
    assert warm.ring(worker.redis, project, "job-x") is None


def test_a_lease_that_is_not_renewed_ends(worker: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "LEASE_SECONDS", 1)
    warm.hold(worker.redis, worker.name, 7)
    assert warm.renew(worker.redis, worker.name, [7]) == []
    assert warm.renew(worker.redis, "another", [7]) == [7]
    time.sleep(1.1)
    assert warm.ring(worker.redis, 7, "job-x") is None
    assert warm.renew(worker.redis, "another", [7]) == []


def test_one_thread_at_a_time_per_project(worker: Context) -> None:
    order: list[str] = []

    def second() -> None:
        with worker.live.alone(1):
            order.append("second")

    thread = threading.Thread(target=second)
    with worker.live.alone(1), worker.live.alone(2):
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
