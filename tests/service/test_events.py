"""GET /events and GET /jobs/{id}/events over a real connection."""

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from service import watcher
from service.app import create_app
from service.event_streams import BEHIND_MAX
from service.settings import ServiceSettings
from store.database import Sessions
from store.tables import ApiKey, Job
from tests.api import Api
from tests.service.keyed import Keyed
from tests.service.streams import Reader, Serving, serving
from tests.worker.conftest import run_queued
from worker import queue
from worker.context import Context


def _empty(settings: ServiceSettings) -> None:
    with queue.connect(settings.redis_url) as redis:
        redis.flushdb()


@pytest.fixture
def served(settings: ServiceSettings) -> Iterator[Serving]:
    _empty(settings)
    with serving(create_app(settings.model_copy(update={"lookahead_event_streams": 40}))) as made:
        yield made


@pytest.fixture
def hand(served: Serving) -> Iterator[Api]:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        yield Api(client)  # type: ignore[arg-type]


def watched(served: Serving) -> watcher.Watcher:
    found: watcher.Watcher = served.app.state.watcher
    return found


def until(holds: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_snapshot_then_what_changes(served: Serving, hand: Api, worker: Context, sessions: Sessions) -> None:
    hand.project()
    hand.pool()
    job = hand.mlp()
    reader = Reader(served.url, "/events")
    reader.wait(lambda name, _: name == "workers")
    assert reader.headers["content-type"].startswith("text/event-stream")
    assert (reader.headers["x-accel-buffering"], reader.headers["cache-control"]) == ("no", "no-store")
    assert [(name, data.get("id", data.get("project"))) for name, data, _ in reader.events] == [
        ("job", job["id"]),
        ("project", "p"),
        ("workers", None),
    ]
    assert reader.events[0][1] == hand.get(f"/jobs/{job['id']}").json()
    assert reader.events[1][1] == {
        "project": "p",
        "label_seq": 0,
        "pool_version": 1,
        "kernel": None,
        "applied_seq": None,
        "open_suggestions": 0,
    }
    assert reader.events[2][1].keys() == hand.get("/workers").json().keys()
    # Progress comes within a look and a little more; ends come at once.
    with sessions.begin() as session:
        session.execute(
            sa.update(Job).values(status="running", stage="kernel", done=3, total=8, unit="tiles", worker="w")
        )
    assert reader.wait(lambda name, data: name == "job" and data["progress"]["done"] == 3) < 1.5
    with sessions.begin() as session:
        session.execute(sa.update(Job).values(status="queued", worker=None))
    run_queued(worker)
    assert reader.wait(lambda name, data: name == "job" and data["status"] == "succeeded") < 0.8
    ended = next(data for _, data, _ in reader.events if data.get("status") == "succeeded")
    assert ended == hand.get(f"/jobs/{job['id']}").json()
    reader.wait(lambda name, data: name == "project" and data["kernel"] == "kernel-1")
    hand.label("item-1")
    reader.wait(lambda name, data: name == "project" and data["label_seq"] == 1)
    answer = hand.suggest(count=2, annotator="ann", headers={"Prefer": "wait=0"})
    run_queued(worker)
    reader.wait(lambda name, data: name == "project" and (data["open_suggestions"], data["applied_seq"]) == (2, 1))
    reader.wait(lambda name, data: data.get("id") == answer.json()["id"] and data["status"] == "succeeded")
    suggested = [data for _, data, _ in reader.events if data.get("id") == answer.json()["id"]]
    assert suggested[-1]["result"] is None
    assert [data["status"] for data in suggested].count("succeeded") == 1


def test_one_project_only(served: Serving, hand: Api) -> None:
    for name in ("p", "q"):
        hand.project(name)
        hand.pool(name=name)
        hand.mlp(name)
    reader = Reader(served.url, "/events?project=q")
    reader.wait(lambda name, _: name == "workers")
    hand.label("item-1", name="p")
    hand.label("item-1", name="q")
    reader.wait(lambda name, data: name == "project" and data["label_seq"] == 1)
    assert {data["project"] for name, data, _ in reader.events if name != "workers"} == {"q"}
    answer = hand.get("/events", project="nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_project")


def test_a_job_until_its_end(served: Serving, hand: Api, worker: Context) -> None:
    hand.project()
    hand.pool()
    first, second = hand.mlp(), hand.mlp(seed=1)
    readers = [Reader(served.url, f"/jobs/{job['id']}/events") for job in (first, second)]
    for reader in readers:
        reader.wait(lambda _, data: data["status"] == "queued")
    run_queued(worker)
    for reader, job in zip(readers, (first, second), strict=True):
        assert reader.ended.wait(30)
        assert reader.broken is None
        assert {data["id"] for _, data, _ in reader.events} == {job["id"]}
        assert reader.events[-1][1] == hand.get(f"/jobs/{job['id']}").json()
    late = Reader(served.url, f"/jobs/{first['id']}/events")
    assert late.ended.wait(30)
    assert [data["status"] for _, data, _ in late.events] == ["succeeded"]


def test_many_streams_cost_one_look_and_no_thread_each(
    served: Serving, hand: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    read = watcher.Watcher._read

    def counted(self: watcher.Watcher, now: float) -> Any:
        looks.append(now)
        return read(self, now)

    monkeypatch.setattr(watcher.Watcher, "_read", counted)
    hand.project()
    threads = threading.active_count()
    held = [served.connect("/events") for _ in range(30)]
    until(lambda: watched(served).count() == 30)
    assert b"event: project" in held[-1].recv(65_536)
    assert "lookahead_event_streams" in hand.get("/metrics").text
    time.sleep(2.2)
    assert threading.active_count() - threads <= 8
    assert 2 <= len(looks) <= 5
    assert min(after - before for before, after in itertools.pairwise(looks)) > 0.9
    for connection in held:
        connection.close()
    until(lambda: watched(served).count() == 0)
    before = len(looks)
    time.sleep(1.3)
    assert len(looks) <= before + 1


def test_there_is_a_limit_to_streams(served: Serving, hand: Api) -> None:
    held = [served.connect("/events") for _ in range(40)]
    until(lambda: watched(served).count() == 40)
    answer = hand.get("/events")
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")
    assert int(answer.headers["retry-after"]) > 0
    held.pop().close()
    until(lambda: watched(served).count() == 39)
    reader = Reader(served.url, "/events")
    reader.wait(lambda name, _: name == "workers")
    for connection in held:
        connection.close()


def test_who_does_not_read_is_dropped_and_holds_up_nobody(served: Serving, hand: Api) -> None:
    hand.project()
    reader = Reader(served.url, "/events")
    reader.wait(lambda name, _: name == "project")
    slow = served.connect("/events")
    until(lambda: watched(served).count() == 2)
    told = watched(served)

    def flood() -> None:
        for listener in list(told._listeners):
            for _ in range(BEHIND_MAX // 2):
                listener.put("event: job\ndata: {}\n\n" if len(told._listeners) < 2 else f": {'x' * 20_000}\n\n")

    loop = told._task.get_loop()  # type: ignore[union-attr]
    deadline = time.monotonic() + 20
    while told.count() == 2:
        assert time.monotonic() < deadline
        loop.call_soon_threadsafe(flood)
        time.sleep(0.3)
    hand.label("item-1") if hand.pool() else None
    reader.wait(lambda name, data: name == "project" and data["label_seq"] == 1)
    assert not reader.ended.is_set()
    slow.close()


def test_the_server_stops_at_once_with_streams_open(served: Serving, hand: Api) -> None:
    hand.project()
    hand.pool()
    job = hand.mlp()
    readers = [Reader(served.url, path) for path in ("/events", "/events", f"/jobs/{job['id']}/events")]
    for reader in readers:
        reader.wait(lambda *_: True)
    assert served.stop() < 3
    for reader in readers:
        assert reader.ended.wait(1)
        # The answer came to its end: the connection did not break.
        assert reader.broken is None


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_ends_the_service_with_streams_open(settings: ServiceSettings, processes: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = settings.model_dump(include={"database_url", "redis_url", "artifacts_url"})
    environment = {**os.environ, **{name.upper(): str(value) for name, value in given.items()}}
    environment |= {"PORT": str(port), "LOOKAHEAD_SERVICE_PROCESSES": str(processes)}
    service = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/livez", trust_env=False).is_success
            except httpx.TransportError:
                return False

        until(answers, 60)
        reader = Reader(url, "/events")
        reader.wait(lambda name, _: name == "workers")
        service.terminate()
        began = time.monotonic()
        service.wait(20)
        # Left to themselves, streams hold it up for ten seconds.
        assert time.monotonic() - began < 9
        assert reader.ended.wait(1)
    finally:
        service.kill()
        service.wait()


@pytest.fixture
def keyed_server(settings: ServiceSettings, sessions: Sessions) -> Iterator[tuple[Serving, Keyed]]:
    _empty(settings)
    app = create_app(settings.model_copy(update={"lookahead_auth": "on", "lookahead_event_streams": 4}))
    with serving(app) as made, httpx.Client(base_url=made.url, trust_env=False, timeout=30) as client:
        yield made, Keyed(app, client, sessions)  # type: ignore[arg-type]


def test_tenants_hear_of_their_own_projects_only(keyed_server: tuple[Serving, Keyed], worker: Context) -> None:
    served, keyed = keyed_server
    everybody = keyed.new("admin")
    for name in ("mine", "theirs"):
        everybody.project(name)
        everybody.pool(name=name)
        everybody.mlp(name)
    key = keyed.key("read", projects=["mine"])
    mine, every = (Reader(served.url, "/events", one) for one in (key, keyed.key("read")))
    for reader in (mine, every):
        reader.wait(lambda name, _: name == "workers")
    run_queued(worker)
    for name in ("theirs", "mine"):
        everybody.label("item-1", name=name)
    for reader in (mine, every):
        reader.wait(lambda name, data: name == "project" and (data["project"], data["label_seq"]) == ("mine", 1))
        reader.wait(lambda name, data: name == "job" and data["status"] == "succeeded")
    assert {data["project"] for name, data, _ in mine.events if name != "workers"} == {"mine"}
    assert {data["project"] for name, data, _ in every.events if name != "workers"} == {"mine", "theirs"}
    tenant = keyed.holder(key)
    assert tenant.get("/events", project="theirs").status_code == 404
    assert keyed.new("suggest").get("/events").status_code == 403
    # A key may hold half of the streams.
    again = Reader(served.url, "/events", key)
    again.wait(lambda name, _: name == "workers")
    assert tenant.get("/events").json()["code"] == "too_many_streams"


def test_a_stream_ends_with_its_key(
    keyed_server: tuple[Serving, Keyed], sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_KEYS_SECONDS", 0.0)
    served, keyed = keyed_server
    keyed.new("admin").project("p")
    revoked, expiring, living = (Reader(served.url, "/events", keyed.key("read")) for _ in range(3))
    for reader in (revoked, expiring, living):
        reader.wait(lambda name, _: name == "project")
    with sessions.begin() as session:
        ids = list(session.scalars(sa.select(ApiKey.id).order_by(ApiKey.id)))[-3:]
        session.execute(sa.update(ApiKey).where(ApiKey.id == ids[0]).values(revoked_at=sa.func.now()))
        session.execute(sa.update(ApiKey).where(ApiKey.id == ids[1]).values(expires_at=sa.func.now()))
    assert revoked.ended.wait(30)
    assert expiring.ended.wait(30)
    assert not living.ended.is_set()
