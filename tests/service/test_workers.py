"""GET /workers: what registrations, metrics, leases and the database say together."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from rq.serializers import JSONSerializer

from embedded.servers import Valkey
from store.database import Sessions
from store.tables import Job
from telemetry.gauges import watch_process
from telemetry.snapshots import Publisher
from tests.api import Api, Json
from tests.service.keyed import Keyed
from tests.worker.conftest import run_queued
from worker import queue
from worker.context import Context
from worker.metrics import Device
from worker.serving import Worker


@contextmanager
def living(worker: Context) -> Iterator[Publisher]:
    """The worker is registered with the queue and publishes its metrics."""
    worker.metrics.registry.register(Device(worker.name, "interactive,bulk", worker.device))
    watch_process(worker.metrics.registry, connections=dict, disk_free=lambda: None)
    names = [queue.queue(worker.redis, name) for name in ("interactive", "bulk")]
    registered = Worker(names, connection=worker.redis, name=worker.name, serializer=JSONSerializer)
    registered.register_birth()  # type: ignore[no-untyped-call]
    publisher = Publisher(worker.redis, "worker", worker.metrics.registry)
    publisher.publish()
    yield publisher


def test_a_worker_with_what_it_holds_and_does(api: Api, worker: Context, sessions: Sessions) -> None:
    assert api.get("/workers").json()["workers"] == []
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    api.label("item-1")
    api.label("item-2", "b")
    api.suggest(headers={"Prefer": "wait=0"})
    run_queued(worker)
    api.suggest(headers={"Prefer": "wait=0"})
    with living(worker):
        found = api.get("/workers").json()
        (seen,) = found["workers"]
        assert (seen["name"], seen["process"], seen["device"]) == (worker.name, "worker-1", "cpu")
        assert (seen["queues"], seen["state"], seen["job"]) == (["interactive", "bulk"], "idle", None)
        assert 0 <= seen["heartbeat_seconds"] < 60
        assert seen["memory_bytes"] > 50 << 20
        (warm,) = seen["warm"]
        assert (warm["project"], warm["kernel"], warm["labeled"]) == ("p", "kernel-1", 2)
        assert warm["bytes"] > 30 * 30 * 8
        queues = {entry["name"]: entry for entry in found["queues"]}
        assert queues["interactive"] | {"oldest_seconds": 0} == {
            "name": "interactive",
            "waiting": 1,
            "oldest_seconds": 0,
            "workers": 1,
        }
        assert (queues["bulk"]["waiting"], queues["bulk"]["oldest_seconds"]) == (0, 0)
        latencies = {entry["what"]: entry for entry in found["latencies"]}
        assert [latencies[what]["count"] for what in ("label", "suggest", "label_to_suggestion")] == [2, 2, 1]
        for entry in latencies.values():
            assert 0 < entry["p50"] <= entry["p90"] <= entry["p99"] < 30
        with sessions.begin() as session:
            session.execute(sa.update(Job).where(Job.status == "queued").values(status="running", worker=worker.name))
            job = session.scalars(sa.select(Job.id).where(Job.status == "running")).one()
        (seen,) = api.get("/workers").json()["workers"]
        assert (seen["state"], seen["job"]) == ("busy", job)


def test_a_worker_that_has_not_published_yet(api: Api, worker: Context) -> None:
    with living(worker) as publisher:
        publisher.stop()
        (seen,) = api.get("/workers").json()["workers"]
    assert (seen["name"], seen["process"], seen["queues"]) == (worker.name, None, ["interactive", "bulk"])
    assert 0 <= seen["heartbeat_seconds"] < 60


def test_tenants_see_names_of_their_own_projects_only(keyed: Keyed, worker: Context, sessions: Sessions) -> None:
    everybody = keyed.new("admin")
    for name in ("mine", "theirs"):
        everybody.project(name)
        everybody.pool(name=name)
        everybody.mlp(name)
    run_queued(worker)
    for name in ("mine", "theirs"):
        everybody.client.post("/suggest", json={"project": name}, headers={"Prefer": "wait=0"})
    run_queued(worker)
    with sessions.begin() as session:
        job = session.scalars(sa.select(Job.id).where(Job.project_id == 2).limit(1)).one()
        session.execute(sa.update(Job).where(Job.id == job).values(status="running", worker=worker.name))

    def seen_by(api: Api) -> Json:
        (seen,) = api.get("/workers").json()["workers"]
        return dict(seen)

    with living(worker):
        assert [warm["project"] for warm in seen_by(everybody)["warm"]] == ["mine", "theirs"]
        assert seen_by(everybody)["job"] == job
        of_tenant = seen_by(keyed.new("read", projects=["mine"]))
        assert [warm["project"] for warm in of_tenant["warm"]] == ["mine"]
        assert (of_tenant["job"], of_tenant["state"]) == (None, "busy")
        assert seen_by(keyed.new("read", projects=["theirs"]))["job"] == job
        assert everybody.post("/projects/theirs/train", {"epochs": 0}).status_code == 202
        queues = keyed.new("read", projects=["mine"]).get("/workers").json()["queues"]
        assert sum(queue["waiting"] for queue in queues) == 1  # how busy all are is no secret
        assert keyed.new("suggest").get("/workers").status_code == 403


def test_without_the_queue_there_is_no_telling(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from redis import Redis
    from redis.exceptions import ConnectionError as AwayError

    def away(*_: object, **__: object) -> None:
        raise AwayError("away")

    monkeypatch.setattr(Redis, "smembers", away)
    answer = api.get("/workers")
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")


def test_the_queue_library_has_a_tool_that_sees_queues_and_workers(api: Api, worker: Context, valkey: Valkey) -> None:
    api.project()
    api.pool()
    api.mlp()
    with living(worker):
        command = [Path(sys.executable).parent / "rq", "info", "--url", valkey.url, "--raw"]
        done = subprocess.run(command, capture_output=True, text=True)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert "queue bulk 1" in done.stdout
    assert worker.name in done.stdout
