"""Deleting a project: gone at once for everybody, then row by row; what others have stays as it is."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from embedded import backup
from embedded.deployment import Deployment
from embedded.servers import Postgres
from service.settings import ServiceSettings
from store import deletion, jobs, references
from store.database import Sessions
from store.errors import ArtifactMissingError
from store.tables import Job
from tests.api import Api, assert_problem
from tests.worker.belongings import belonging, filled, suggested, swept
from tests.worker.trainings import trained
from worker import prepare, removal, train, warm
from worker.context import Context
from worker.jobs import run_in
from worker.maintenance import Sweeper

PATHS = ("", "/items", "/items/item-1", "/curve", "/diagnostics", "/leases", "/contents")


def test_nothing_is_left_and_nothing_else_is_touched(
    api: Api, worker: Context, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "BATCH", 7)
    (mine, token), (other, their_token) = (filled(api, worker, sessions, name) for name in "pq")
    api.pool(5, "p", seed=1, prefix="more-")
    before, theirs = belonging(sessions, mine), belonging(sessions, other)
    empty = [table for table, rows in before.items() if not rows]
    assert not empty, f"tables that this test does not fill: {empty}"
    with sessions.begin() as session:
        shared = references.lasting(session) | references.kernels(session)
    own = next(row for row in before["pool_chunks"] if row[1] == 2)[4]
    assert worker.artifacts.exists(own)
    queued = [row for row in before["jobs"] if "queued" in row]
    assert len(queued) == 1

    assert api.get(f"/label-studio/{token}/health").status_code == 200

    answer = api.client.delete("/projects/p")
    assert answer.status_code == 202
    assert answer.json() == {
        "project": "p",
        "items": 35,
        "labels": 3,
        "label_events": 3,
        "checkpoints": 1,
        "connections": 1,
        "jobs_cancelled": 1,
    }
    assert_problem(api.client.delete("/projects/p"), 404, "unknown_project")
    for path in PATHS:
        assert_problem(api.get(f"/projects/p{path}", items="item-1"), 404, "unknown_project")
    for answer in (api.label("item-1"), api.suggest(), api.get("/labels", project="p"), api.get("/jobs", project="p")):
        assert_problem(answer, 404, "unknown_project")
    assert_problem(api.get(f"/projects/%23{mine}%20p"), 422, "invalid_request")
    assert [one["name"] for one in api.get("/projects").json()["projects"]] == ["q"]
    assert {job["project"] for job in api.get("/jobs").json()["jobs"]} == {"q"}
    assert_problem(api.get(f"/jobs/{queued[0][0]}"), 404, "unknown_job")
    assert [one["project"] for one in api.get("/label-studio").json()["connections"]] == ["q"]
    assert_problem(api.get(f"/label-studio/{token}/health"), 401, "unknown_token")
    assert api.get(f"/label-studio/{their_token}/health").status_code == 200
    assert "lookahead_label_events_total 3.0" in api.get("/metrics").text
    assert "lookahead_leases_held 1.0" in api.get("/metrics").text
    # Its name is free, and what belongs to the new one is not what goes.
    api.project("p")
    api.pool(name="p")
    assert api.label("item-1", name="p").json()["seq"] == 1

    swept(worker)
    assert not any(belonging(sessions, mine).values())
    assert belonging(sessions, other) == theirs
    assert not worker.artifacts.exists(own)
    with sessions.begin() as session:
        assert references.lasting(session) | references.kernels(session) == shared - {own}
    assert all(worker.artifacts.intact(name) for name in shared - {own})
    assert api.get("/projects/p").json()["items"] == 30
    suggested(api, worker, "q")
    assert removal.sweep(worker) == 0


def test_a_kill_leaves_the_rest_to_the_next(
    api: Api, worker: Context, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each batch in turn, before its commit: files may be gone, rows are there until their turn comes."""
    monkeypatch.setattr(deletion, "BATCH", 20)
    project_id, _ = filled(api, worker, sessions, "p")
    api.client.delete("/projects/p")
    drop = references.drop

    def dying(*arguments: Any) -> bool:
        drop(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(references, "drop", dying)
    for _ in range(20):
        try:
            if deletion.remove_batch(worker.sessions, worker.artifacts, project_id) == 0:
                break
        except KeyboardInterrupt:
            break
    left = belonging(sessions, project_id)
    assert left["projects"]
    assert left["kernel_panels"]
    with pytest.raises(ArtifactMissingError):
        worker.artifacts.path(left["kernel_panels"][0][3])
    monkeypatch.setattr(references, "drop", drop)
    # A backup is being written: it may still want what the rows name.
    with deletion.put_off(sessions):
        assert deletion.remove_batch(worker.sessions, worker.artifacts, project_id) is None
    swept(worker)
    assert not any(belonging(sessions, project_id).values())
    assert set(worker.artifacts.idle(-60)) == set()


def test_a_job_at_work_ends_and_nothing_goes_before(
    api: Api, worker: Context, sessions: Sessions, new_context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is at work for the project stops; what it has written by then goes with the rest."""
    monkeypatch.setattr(prepare, "PANEL_ROWS", 8)
    project_id, _ = filled(api, worker, sessions, "p")
    job, begun, go_on = api.mlp(seed=5)["id"], threading.Event(), threading.Event()
    outputs = prepare._outputs

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return outputs(*arguments)

    monkeypatch.setattr(prepare, "_outputs", slow)
    running = threading.Thread(target=run_in, args=(worker, job))
    running.start()
    assert begun.wait(20)
    assert worker.live.projects() == [project_id]
    answer = api.client.delete("/projects/p").json()
    assert answer["jobs_cancelled"] == 1
    # One whose request had found the project before it was gone.
    with sessions.begin() as session:
        late = jobs.create(session, kind="suggest", project_id=project_id, queue="interactive", arguments={})
    other = new_context()
    assert removal.sweep(other) == 0
    assert belonging(sessions, project_id)["items"]
    with sessions.begin() as session:
        assert session.get_one(Job, late.id).status == "cancelled"
    go_on.set()
    running.join(20)
    with sessions.begin() as session:
        assert session.get_one(Job, job).status == "cancelled"
    warm.nudge(worker.redis, project_id)
    removal.sweep(worker)
    assert worker.live.projects() == []
    assert worker.metrics.warm == {}
    swept(other)
    assert not any(belonging(sessions, project_id).values())


def test_a_worker_that_died_at_it_keeps_nothing(
    api: Api, worker: Context, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.project()
    api.pool()
    job = api.mlp()["id"]
    with sessions.begin() as session:
        jobs.claim(session, job, "worker-that-died")
    api.client.delete("/projects/p")
    assert removal.sweep(worker) == 0
    monkeypatch.setattr("worker.maintenance.identity.is_dead", lambda name: name == "worker-that-died")
    assert Sweeper(worker).sweep() == 0  # it is ended, not queued again
    swept(worker)
    with sessions.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Job)) == 0


def test_a_backup_that_is_being_written_keeps_what_it_names(
    api: Api,
    worker: Context,
    sessions: Sessions,
    postgres: Postgres,
    settings: ServiceSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.project()
    api.pool()
    write = backup._write

    def after_the_dump(*arguments: Any) -> None:
        api.client.delete("/projects/p")
        assert removal.sweep(worker) == 0
        write(*arguments)

    monkeypatch.setattr(backup, "_write", after_the_dump)
    deployment = Deployment(settings.database_url, worker.artifacts, postgres.binaries())
    manifest = backup.backup(deployment, tmp_path / "b.tar")
    assert len(manifest["artifacts"]) == 1
    swept(worker)
    assert set(worker.artifacts.idle(-60)) == set()


@pytest.mark.usefixtures("quick")
def test_what_is_about_to_be_shared_stays(
    api: Api, worker: Context, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project trains a network just like one of a project that is deleted meanwhile, all of whose artifacts go."""
    for name in "pq":
        api.project(name)
        api.pool(name=name)
        assert api.label("item-1", "b", name).status_code == 201

    network = {"architecture": "mlp", "options": {"hidden": [4]}}
    first = trained(api, worker, "p", **network)
    fit = train._fitted

    def meanwhile(*arguments: Any) -> Any:
        api.client.delete("/projects/p")
        swept(worker)
        return fit(*arguments)

    monkeypatch.setattr(train, "_fitted", meanwhile)
    second = trained(api, worker, "q", **network)
    assert second["checkpoint"] == first["checkpoint"]
    with sessions.begin() as session:
        needed = references.lasting(session) | references.kernels(session)
    assert len(needed) >= 5
    assert all(worker.artifacts.intact(name) for name in needed)

    def put() -> str:
        return worker.artifacts.put_file(io.BytesIO(b"the same bytes"))

    def removed(*given: Any) -> None:
        worker.artifacts.remove(name)
        hold(*given)

    name, hold = put(), references.hold
    monkeypatch.setattr(references, "hold", removed)
    with sessions.begin() as session:
        assert references.kept(session, worker.artifacts, put) == name
    assert worker.artifacts.intact(name)
