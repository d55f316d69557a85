"""Who may delete a project, what is written down of it, and what streams and Label Studio get to know."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from service.app import create_app
from service.settings import ServiceSettings
from store import jobs, labels
from store.database import Sessions
from store.tables import Job, LabelEvent, LabelStudioTask
from tests.api import Api, assert_problem
from tests.label_studio.fake import connect, fake_label_studio, recorded
from tests.service.keyed import Keyed
from tests.service.streams import Reader, Serving, serving
from tests.service.test_keys_audit import entries
from tests.worker.belongings import swept
from worker import queue
from worker.context import Context


def test_only_its_admins_may_and_the_audit_keeps_it(keyed: Keyed, sessions: Sessions, worker: Context) -> None:
    admin = keyed.new("admin")
    admin.project()
    admin.pool()
    for scopes in (("read",), ("label", "suggest")):
        assert_problem(keyed.new(*scopes).client.delete("/projects/p"), 403, "scope_missing", "admin")
    assert_problem(keyed.new("admin", projects=["q"]).client.delete("/projects/p"), 404, "unknown_project")
    mine = keyed.new("admin", projects=["p"])
    assert mine.client.delete("/projects/p").status_code == 202
    swept(worker)
    # The key is for whatever has that name.
    assert mine.get("/projects").json()["projects"] == []
    mine.project()
    assert mine.get("/audit").json()["entries"][-2]["method"] == "DELETE"
    assert [(method, path, project, status) for _, method, path, project, status in entries(sessions)][-2:] == [
        ("DELETE", "/projects/{name}", "p", 202),
        ("POST", "/projects", "p", 201),
    ]


@pytest.fixture
def served(settings: ServiceSettings) -> Iterator[Serving]:
    with queue.connect(settings.redis_url) as redis:
        redis.flushdb()
    with serving(create_app(settings)) as made:
        yield made


def _snapshot(served: Serving) -> list[str]:
    reader = Reader(served.url, "/events")
    reader.wait(lambda name, _: name == "workers")
    return [name for name, _, _ in reader.events]


def test_streams_tell_the_end_of_its_jobs_and_then_nothing(served: Serving, worker: Context) -> None:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        api = Api(client)  # type: ignore[arg-type]
        api.project()
        api.pool()
        job = api.mlp()["id"]
        everything, one = Reader(served.url, "/events"), Reader(served.url, f"/jobs/{job}/events")
        everything.wait(lambda name, data: name == "job" and data["status"] == "queued")
        one.wait(lambda name, _: name == "job")
        assert api.client.delete("/projects/p").status_code == 202
        everything.wait(lambda name, data: name == "job" and (data["status"], data["project"]) == ("cancelled", "p"))
        assert one.ended.wait(30)
        assert one.broken is None
        deadline = time.monotonic() + 30
        while "project" in _snapshot(served):  # of the look before, for at most a second
            assert time.monotonic() < deadline
        assert "#" not in str(everything.events)
        assert_problem(api.get("/events", project="p"), 404, "unknown_project")
        assert_problem(api.get(f"/jobs/{job}/events"), 404, "unknown_job")
        assert_problem(api.post(f"/jobs/{job}/cancel"), 404, "unknown_job")


def test_label_studio_is_heard_no_more(
    api: Api, sessions: Sessions, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its message was being taken in when the project was deleted."""
    with fake_label_studio() as studio:
        api.project(classes=("pos", "neg"))
        api.pool(8, prefix="task-")
        made = connect(api, studio)
        sync = api.post(f"/label-studio/{made['id']}/sync")
        assert sync.status_code == 202
        append = labels.append

        def late(*arguments: Any) -> int:
            deleting = threading.Thread(target=api.client.delete, args=("/projects/p",))
            deleting.start()
            deleting.join(20)
            seq: int = append(*arguments)
            return seq

        monkeypatch.setattr(labels, "append", late)
        answer = api.post(f"{made['backend']}/webhook", recorded(20))
        assert (answer.status_code, answer.json()) == (201, {"status": "ok"})
        with sessions.begin() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(LabelEvent)) == 0
            assert session.get_one(Job, sync.json()["id"]).status == "cancelled"
        assert_problem(api.post(f"{made['backend']}/webhook", recorded(20)), 401, "unknown_token")
        assert_problem(api.client.delete(f"/label-studio/{made['id']}"), 404, "unknown_connection")
        swept(worker)
        with sessions.begin() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(LabelStudioTask)) == 0
            assert jobs.queued(session) == []
