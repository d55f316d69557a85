"""What a worker counts, times and logs while it works, and how the service tells it."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from store.errors import LeasedMeanwhileError
from store.tables import Job, LabelEvent
from telemetry.snapshots import Publisher
from tests.api import Api
from tests.logged import logged
from tests.worker.conftest import run_queued
from worker import jobs
from worker.context import Context
from worker.metrics import Device
from worker.progress import Reporter


def value(context: Context, name: str, **labels: str) -> float:
    found = context.metrics.registry.get_sample_value(name, labels)
    return 0.0 if found is None else found


def ask(api: Api, worker: Context, **more: Any) -> dict[str, Any]:
    """A suggestion made here and now, on this thread."""
    answer = api.suggest(headers={"Prefer": "wait=0"}, **more)
    assert answer.status_code == 202, answer.text
    run_queued(worker)
    found: dict[str, Any] = api.get(f"/jobs/{answer.json()['id']}").json()
    assert found["status"] == "succeeded", found
    return found


@pytest.fixture
def ready(api: Api, worker: Context) -> Context:
    """A prepared project of 30 items."""
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    return worker


def test_jobs_are_timed_by_kind_and_outcome(api: Api, worker: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    assert value(worker, "lookahead_job_seconds_count", kind="prepare", outcome="succeeded") == 1
    assert value(worker, "lookahead_job_wait_seconds_count", queue="bulk") == 1

    def breaks(*_: Any) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setitem(jobs.KINDS, "suggest", breaks)
    api.suggest(headers={"Prefer": "wait=0"})
    run_queued(worker)
    assert value(worker, "lookahead_job_seconds_count", kind="suggest", outcome="failed") == 1

    def stops(context: Context, *_: Any) -> None:
        context.stopping.set()
        Reporter(context, _[0]).check()

    monkeypatch.setitem(jobs.KINDS, "suggest", stops)
    api.suggest(headers={"Prefer": "wait=0"})
    run_queued(worker)
    assert value(worker, "lookahead_job_seconds_count", kind="suggest", outcome="put_back") == 1


def test_labels_are_counted_by_what_they_took(api: Api, ready: Context) -> None:
    ask(api, ready)
    assert value(ready, "lookahead_state_load_seconds_count") == 1
    for k in range(4):
        api.label(f"item-{k}", "abc"[k % 3])
    ask(api, ready)
    api.label("item-0", "b")
    api.label("item-1", None)
    api.label("item-9", skip=True)
    ask(api, ready)
    assert value(ready, "lookahead_label_updates_total", change="append") == 4
    assert value(ready, "lookahead_label_updates_total", change="relabel") == 1
    assert value(ready, "lookahead_label_updates_total", change="withdraw") == 1
    assert value(ready, "lookahead_state_load_seconds_count") == 1
    assert value(ready, "lookahead_suggest_stage_seconds_count", family="lookahead", stage="score") == 3
    assert value(ready, "lookahead_warm_states") == 1
    assert value(ready, "lookahead_warm_state_bytes") > 30 * 30 * 8
    assert value(ready, "lookahead_kernel_condition", project_id="1") >= 1
    assert value(ready, "lookahead_kernel_jitter", project_id="1") == 0


def test_the_age_of_the_newest_label_is_told_once(api: Api, ready: Context) -> None:
    ask(api, ready)
    assert value(ready, "lookahead_label_to_suggestion_seconds_count") == 0
    for k in range(3):
        api.label(f"item-{k}")
    with ready.sessions.begin() as session:
        older = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, 40)
        session.execute(sa.update(LabelEvent).where(LabelEvent.seq == 3).values(created_at=older))
    ask(api, ready)
    ask(api, ready)
    assert value(ready, "lookahead_label_to_suggestion_seconds_count") == 1
    assert 40 < value(ready, "lookahead_label_to_suggestion_seconds_sum") < 60


def test_states_that_are_dropped_are_counted_by_reason(
    api: Api, ready: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(api, ready)
    api.mlp(seed=1)
    run_queued(ready)
    ask(api, ready)
    assert value(ready, "lookahead_state_evictions_total", reason="replaced") == 1
    assert value(ready, "lookahead_warm_states") == 1

    def breaks(*_: Any) -> None:
        raise RuntimeError("no luck")

    with monkeypatch.context() as broken:
        broken.setattr("worker.live.Live.catch_up", breaks)
        api.suggest(headers={"Prefer": "wait=0"})
        run_queued(ready)
    assert value(ready, "lookahead_state_evictions_total", reason="failed") == 1
    assert value(ready, "lookahead_warm_states") == 0


def test_a_worker_that_was_overtaken_is_counted(api: Api, ready: Context, new_context: Callable[[], Context]) -> None:
    other = new_context()
    ask(api, ready)
    ask(api, other)
    api.label("item-1")
    ask(api, ready)
    with other.sessions.begin() as session:
        state = session.execute(sa.text("SELECT applied_seq FROM kernel_states")).scalar_one()
    assert state == 1
    api.label("item-2")
    ask(api, other)
    assert value(other, "lookahead_state_evictions_total", reason="overtaken") == 1
    assert value(other, "lookahead_warm_states") == 0


def test_choosing_again_is_counted(api: Api, ready: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker import suggest

    save, tries = suggest._save, []

    def second_time(*arguments: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise LeasedMeanwhileError
        save(*arguments)

    monkeypatch.setattr(suggest, "_save", second_time)
    ask(api, ready)
    assert value(ready, "lookahead_retries_total", reason="leased_meanwhile") == 1


def test_every_line_of_a_job_says_whose_it_is(api: Api, ready: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setitem(jobs.KINDS, "suggest", breaks)
    answer = api.suggest(headers={"Prefer": "wait=0", "X-Request-ID": "ask-7"})
    with logged() as written:
        run_queued(ready)
    lines = written.lines("worker.jobs")
    assert len(lines) == 2
    for line in lines:
        told = {key: line[key] for key in ("job_id", "kind", "project_id", "attempt", "request_id")}
        assert told == {
            "job_id": answer.json()["id"],
            "kind": "suggest",
            "project_id": 1,
            "attempt": 1,
            "request_id": "ask-7",
        }
    assert lines[0]["exception"][0]["exc_type"] == "RuntimeError"


def test_a_window_drawn_anew_names_the_request_that_used_the_old_one_up(api: Api, worker: Context) -> None:
    api.project(kernel={"window": 4})
    api.pool()
    api.mlp()
    run_queued(worker)
    for item in ask(api, worker, count=3)["result"]["suggestions"]:
        api.label(item["item"])
    answer = api.suggest(headers={"Prefer": "wait=0", "X-Request-ID": "last-1"})
    run_queued(worker)
    with worker.sessions.begin() as session:
        refill = session.scalars(sa.select(Job).where(Job.kind == "prepare", Job.status == "queued")).one()
    assert answer.status_code == 202
    assert refill.request_id == "last-1"


def test_the_service_tells_what_workers_publish(api: Api, ready: Context) -> None:
    ready.metrics.registry.register(Device("host-1", "interactive", ready.device))
    publisher = Publisher(ready.redis, "worker-interactive", ready.metrics.registry)
    publisher.publish()
    text = api.get("/metrics").text
    assert 'lookahead_job_seconds_count{kind="prepare",outcome="succeeded",process="worker-interactive-1"} 1.0' in text
    assert re.search(r'lookahead_worker_info{device="cpu".*process="worker-interactive-1".*worker="host-1"} 1\.0', text)
    assert "lookahead_gpu_memory_bytes" not in text


def test_waiting_jobs_have_an_age(api: Api, worker: Context) -> None:
    api.project()
    api.pool()
    api.mlp()
    with worker.sessions.begin() as session:
        session.execute(sa.update(Job).values(created_at=sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 2)))
    lines = dict(line.rsplit(" ", 1) for line in api.get("/metrics").text.splitlines() if line[0] != "#")
    assert 120 <= float(lines['lookahead_queue_oldest_waiting_seconds{queue="bulk"}']) < 180
    assert lines['lookahead_queue_oldest_waiting_seconds{queue="interactive"}'] == "0.0"
    assert lines['lookahead_queue_jobs_waiting{queue="bulk"}'] == "1.0"
    run_queued(worker)
    api.suggest(annotator="ann", headers={"Prefer": "wait=0"}, count=2)
    run_queued(worker)
    lines = dict(line.rsplit(" ", 1) for line in api.get("/metrics").text.splitlines() if line[0] != "#")
    assert lines["lookahead_leases_held"] == "2.0"
    assert lines['lookahead_queue_jobs_waiting{queue="bulk"}'] == "0.0"


def test_scraping_while_states_come_and_go(ready: Context) -> None:
    from worker.metrics import WarmState

    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            for k in range(50):
                ready.metrics.kept(k, WarmState(1, 1.0, 0.0))
            for k in range(50):
                ready.metrics.dropped(k, "memory")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            assert list(ready.metrics.registry.collect())
    finally:
        ended.set()
        thread.join()
