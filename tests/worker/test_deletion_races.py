"""Deleting a project while others write to it: each is in before, or is told that there is none."""

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from service.operations import suggest
from store import labels
from store.database import Sessions
from store.errors import ProjectGoneError
from store.tables import IdempotencyKey, Job, Project
from tests.api import Api, assert_problem
from tests.worker.belongings import id_of, swept
from worker.context import Context


def test_who_waits_for_a_suggestion_is_told(api: Api, worker: Context, sessions: Sessions) -> None:
    api.project()
    api.pool()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(api.suggest(strategy="random")))
    asking.start()
    deadline = time.monotonic() + 30
    while True:
        with sessions.begin() as session:
            if session.scalar(sa.select(Job.id)):
                break
        assert time.monotonic() < deadline
    assert api.client.delete("/projects/p").json()["jobs_cancelled"] == 1
    asking.join(10)
    assert_problem(answers[0], 404, "unknown_project")


def test_what_arrives_at_the_same_moment_is_in_before_or_refused(
    api: Api, worker: Context, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request has found the project when it is deleted, and is about to write."""
    api.project()
    api.pool()
    project_id = id_of(sessions, "p")
    with sessions.begin() as session:
        labels.append(session, project_id, [labels.NewEvent(0, "label", 0)])
        # A label that is on its way holds the deletion up, and counts.
        answers: list[Any] = []
        deleting = threading.Thread(target=lambda: answers.append(api.client.delete("/projects/p").json()))
        deleting.start()
        deleting.join(0.2)
        assert deleting.is_alive()
    deleting.join(10)
    assert answers[0]["label_events"] == 1
    with pytest.raises(ProjectGoneError), sessions.begin() as session:
        labels.append(session, project_id, [labels.NewEvent(1, "label", 0)])

    api.project()
    api.pool()
    write = labels.append

    def late(*arguments: Any) -> int:
        api.client.delete("/projects/p")
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(labels, "append", late)
        assert_problem(api.label("item-1"), 404, "unknown_project")
    api.project()
    api.pool()
    with monkeypatch.context() as patch:
        patch.setattr(labels, "append", late)
        body = {"project": "p", "labels": [{"item": "item-1", "label": "a"}]}
        assert_problem(api.post("/labels", body, headers={"Idempotency-Key": "k"}), 404, "unknown_project")

    api.project()
    api.pool()
    # A suggestion that is being asked for holds the deletion up until its job is there to be cancelled.
    arguments = suggest._arguments
    begun: list[threading.Thread] = []

    def asked(*given: Any) -> Any:
        deleting = threading.Thread(target=lambda: answers.append(api.client.delete("/projects/p").json()))
        deleting.start()
        deleting.join(0.2)
        assert deleting.is_alive()
        begun.append(deleting)
        return arguments(*given)

    monkeypatch.setattr(suggest, "_arguments", asked)
    assert_problem(api.suggest(strategy="random", headers={"Prefer": "wait=5"}), 404, "unknown_project")
    begun[0].join(10)
    assert answers[1]["jobs_cancelled"] == 1
    swept(worker)
    with sessions.begin() as session:
        assert session.scalars(sa.select(Project.id)).all() == []


def test_two_at_once_and_keys_of_requests(api: Api, sessions: Sessions) -> None:
    made = {"name": "p", "classes": ["a", "b"]}
    label = {"project": "p", "item": "item-1", "label": "a"}

    def posted(path: str, body: Any, key: str) -> Any:
        return api.post(path, body, headers={"Idempotency-Key": key})

    def deleted(key: str) -> Any:
        return api.client.delete("/projects/p", headers={"Idempotency-Key": key})

    assert posted("/projects", made, "make").status_code == 201
    api.pool()
    assert posted("/label", label, "say").json()["seq"] == 1
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(api.client.delete("/projects/p"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answer.status_code for answer in answers) == [202, 404, 404, 404]
    # What was done in the project that is gone was not done in this one.
    again = posted("/projects", made, "make")
    assert (again.status_code, "idempotency-replayed" in again.headers) == (201, False)
    api.pool()
    said = posted("/label", label, "say")
    assert (said.json()["seq"], "idempotency-replayed" in said.headers) == (1, False)
    assert api.get("/projects/p").json()["labels"] == 1
    assert posted("/label", label, "say").headers["idempotency-replayed"] == "true"

    first = deleted("gone")
    assert first.status_code == 202
    api.project()
    repeated = deleted("gone")
    assert (repeated.json(), repeated.headers["idempotency-replayed"]) == (first.json(), "true")
    assert api.get("/projects/p").status_code == 200
    assert_problem(api.client.delete("/projects/q", headers={"Idempotency-Key": "gone"}), 409, "idempotency_conflict")
    with sessions.begin() as session:
        rows = session.execute(sa.select(IdempotencyKey.key, IdempotencyKey.project_id))
        kept = {row[0]: row[1] for row in rows}
    assert kept["gone"] is None
    assert kept["say"] is not None
