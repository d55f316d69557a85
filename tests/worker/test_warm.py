"""Projects kept warm by one worker: leases, the inbox, and what happens to messages that are not taken."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from store.tables import Job
from tests.api import Api
from tests.worker.conftest import run_queued
from worker import jobs, queue, warm
from worker.catch_up import together
from worker.context import Context
from worker.lane import Lane


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
    before = threading.active_count()
    lane = Lane(worker)
    yield worker
    worker.stopping.set()
    lane.close()
    assert threading.active_count() <= before


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
    deadline = time.monotonic() + 30
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
    assert warm.take(other.redis, other.name, 1) == [(project, "job-x")]
    deadline = time.monotonic() + 30
    while serving.live.projects():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_stopping_worker_did_not_take_goes_to_the_common_queue(api: Api, project: int, worker: Context) -> None:
    worker.serves_inbox = True
    suggest_from_the_queue(api, worker)
    left = api.suggest(headers={"Prefer": "wait=0"}).json()["id"]
    assert warm.waits(worker.redis, project, left)
    worker.stopping.set()
    Lane(worker).close()
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


def test_what_waited_in_the_common_queue_goes_to_the_holder(
    api: Api, project: int, worker: Context, new_context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = api.suggest(headers={"Prefer": "wait=0"}).json()["id"]
    holder = new_context()
    warm.hold(holder.redis, holder.name, project)
    monkeypatch.setattr(jobs, "current", lambda: worker)
    jobs.run(late)
    assert api.get(f"/jobs/{late}").json()["status"] == "queued"
    assert warm.take(holder.redis, holder.name, 1) == [(project, late)]
    jobs.run(late, by_anyone=True)
    assert api.get(f"/jobs/{late}").json()["status"] == "succeeded"


def test_one_project_does_not_wait_for_another(
    api: Api, project: int, serving: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggest_from_the_queue(api, serving)
    with serving.live.alone(project + 1):
        for _ in range(10):
            warm.hold(serving.redis, serving.name, project + 1)
            warm.nudge(serving.redis, project + 1)
        assert api.suggest(annotator="ann").status_code == 200


def test_requests_that_wait_together_share_one_catch_up(
    api: Api, project: int, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggest_from_the_queue(api, worker)
    jobs_waiting = []
    for k in range(3):
        api.label(f"item-{k}", "a")
        jobs_waiting.append(api.suggest(headers={"Prefer": "wait=0"}, annotator=f"annotator-{k}").json()["id"])
    taken: list[int] = []
    before = worker.live.alone

    def counting(project_id: int) -> AbstractContextManager[None]:
        state = next(iter(worker.live._states.values()))
        taken.append(state.applied_seq)
        return before(project_id)

    monkeypatch.setattr(worker.live, "alone", counting)
    with together():
        for job_id in jobs_waiting[:2]:
            jobs.run_in(worker, job_id)
        api.label("item-9", "b")
        jobs.run_in(worker, jobs_waiting[2])
    assert taken == [0, 3, 3]
    answers = [api.get(f"/jobs/{job_id}").json()["result"] for job_id in jobs_waiting]
    assert [answer["label_seq"] for answer in answers] == [3, 3, 3]
    assert len({answer["suggestions"][0]["item"] for answer in answers}) == 3
    # The next one, on its own, knows what came since.
    late = api.suggest(headers={"Prefer": "wait=0"}).json()["id"]
    jobs.run_in(worker, late)
    assert api.get(f"/jobs/{late}").json()["result"]["label_seq"] == 4
