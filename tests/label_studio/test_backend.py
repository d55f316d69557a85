"""The ML backend as Label Studio calls it, with the bodies that it was seen to send."""

import json
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from service.settings import ServiceSettings
from store.database import Sessions
from store.tables import LabelStudioConnection
from telemetry.redaction import redacted_text
from tests.api import Api, assert_problem, npz, vectors
from tests.label_studio.fake import TOKEN, FakeLabelStudio, Json, connect, recorded
from tests.service.keyed import Keyed, keyed_service


@pytest.fixture
def backend(api: Api, studio: FakeLabelStudio) -> str:
    """The path of a backend whose project has the tasks 1 to 8 in its pool."""
    api.project(classes=("pos", "neg"))
    ids = np.array([f"task-{k}" for k in range(1, 9)])
    assert api.upload(npz(x=vectors(8), ids=ids)).status_code == 201
    path: str = connect(api, studio)["backend"]
    return path


def log(api: Api) -> list[tuple[str, str, str | None, str]]:
    return [
        (e["item"], e["kind"], e["label"], e["annotator"]) for e in api.get("/labels", project="p").json()["labels"]
    ]


def hook(api: Api, backend: str, body: Any) -> None:
    answer = api.post(f"{backend}/webhook", body)
    assert (answer.status_code, answer.json()) == (201, {"status": "ok"}), answer.text


def test_health_setup_and_versions_answer_at_once(api: Api, backend: str) -> None:
    for slash in ("", "/"):
        assert api.get(f"{backend}/health{slash}").json() == {"status": "UP", "model_class": "Lookahead"}
        assert api.post(f"{backend}/setup{slash}", recorded(2)).json() == {"model_version": "lookahead-0"}
        assert api.get(f"{backend}/versions{slash}").json() == {"versions": ["lookahead-0"]}
        assert api.post(f"{backend}/job_status{slash}", {"job": "x"}).json() == {"job_status": "none"}


def test_predict_before_anything_is_prepared_is_empty(api: Api, backend: str) -> None:
    answer = api.post(f"{backend}/predict", recorded(17)).json()
    assert answer == {"results": [{"result": [], "score": 1.0, "model_version": "lookahead-0"}] * 6}
    odd = api.post(f"{backend}/predict", {"tasks": [{"id": 99}, {"id": "x"}, 7], "new_field": 1})
    assert len(odd.json()["results"]) == 3


def test_annotations_stream_into_the_log(api: Api, backend: str) -> None:
    created, updated, skipped, deleted = (recorded(number) for number in (20, 30, 33, 34))
    for body in (created, created, updated, created, skipped, updated, deleted, updated, deleted):
        hook(api, backend, body)
    assert log(api) == [
        ("task-3", "label", "pos", "ann@example.org"),
        ("task-3", "label", "neg", "ann@example.org"),
        ("task-8", "skip", None, "ann@example.org"),
        ("task-3", "withdraw", None, "ann@example.org"),
    ]


def test_any_order_ends_the_same(api: Api, backend: str) -> None:
    created, updated, deleted = (recorded(number) for number in (20, 30, 34))
    hook(api, backend, updated)
    hook(api, backend, created)
    assert log(api) == [("task-3", "label", "neg", "ann@example.org")]
    hook(api, backend, recorded(34))
    other = json.loads(json.dumps(created).replace('"id": 1, "result"', '"id": 71, "result"'))
    assert other["annotation"]["id"] == 71
    hook(api, backend, {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 71}]})
    hook(api, backend, other)
    assert [kind for _, kind, _, _ in log(api)] == ["label", "withdraw"]
    assert deleted["annotations"] == [{"id": 1}]


def annotation(number: int, task: int, choice: str, user: int, second: int) -> Json:
    return {
        "id": number,
        "task": task,
        "completed_by": {"id": user},
        "updated_at": f"2026-11-20T22:00:{second:02d}.000000Z",
        "result": [{"from_name": "cls", "type": "choices", "value": {"choices": [choice]}}],
    }


def test_several_annotators_and_lists(api: Api, backend: str) -> None:
    several = [annotation(11, 1, "pos", 1, 1), annotation(12, 1, "neg", 5, 2), annotation(13, 1, "neg", 1, 3)]
    hook(api, backend, {"action": "ANNOTATIONS_CREATED", "annotations": several, "project": {"id": 1}})
    assert log(api) == [
        ("task-1", "label", "neg", "ann@example.org"),
        ("task-1", "label", "neg", "label-studio-user-5"),
    ]
    # The annotation before it holds again.
    hook(api, backend, {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 13}]})
    assert log(api)[2] == ("task-1", "label", "pos", "ann@example.org")
    hook(api, backend, {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 11}]})
    assert log(api)[3] == ("task-1", "withdraw", None, "ann@example.org")
    opinions = api.get("/projects/p/items/task-1").json()["opinions"]
    assert [(each["annotator"], each["label"]) for each in opinions] == [("label-studio-user-5", "neg")]


def test_what_is_odd_changes_nothing(api: Api, backend: str) -> None:
    odd: tuple[Any, ...] = (
        {},
        [],
        "x",
        {"action": 7},
        {"action": "ANNOTATION_CREATED"},
        {"action": "ANNOTATION_CREATED", "annotation": {"id": "x", "task": None}},
        {"action": "ANNOTATION_CREATED", "annotation": annotation(31, 1, "pos", 1, 1), "project": {"id": 2}},
        {"action": "ANNOTATION_CREATED", "annotation": annotation(32, 1, "no such choice", 1, 1)},
        {"action": "ANNOTATION_CREATED", "annotation": {**annotation(33, 1, "pos", 1, 1), "id": 2**70}},
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": True}, {}, 3]},
        {"action": "TASKS_DELETED", "tasks": [{"id": 4444}]},
        recorded(39),
    )
    for body in odd:
        hook(api, backend, body)
    assert log(api) == []
    assert_problem(api.client.post(f"{backend}/webhook", content=b"{nonsense"), 422, "invalid_request")


def test_a_deleted_task_is_not_asked_about_again(api: Api, backend: str) -> None:
    hook(api, backend, {"action": "ANNOTATION_CREATED", "annotation": annotation(41, 8, "pos", 1, 1)})
    hook(api, backend, recorded(40))
    assert [(item, kind) for item, kind, _, _ in log(api)] == [
        ("task-8", "label"),
        ("task-8", "withdraw"),
        ("task-8", "skip"),
    ]
    assert api.get("/projects/p/items/task-8").json()["state"] == "skipped"


def test_new_choices_become_classes_and_what_was_said_counts(api: Api, backend: str) -> None:
    hook(api, backend, {"action": "ANNOTATION_CREATED", "annotation": annotation(51, 2, "mixed", 1, 1)})
    body = recorded(38)
    body["project"]["label_config"] = body["project"]["label_config"].replace(
        '<Choice value="neg"/>', '<Choice value="neg"/><Choice value="mixed"/>'
    )
    hook(api, backend, body)
    assert api.get("/projects/p").json()["classes"] == ["pos", "neg", "mixed"]
    assert log(api) == [("task-2", "label", "mixed", "ann@example.org")]
    body["project"]["label_config"] = "<View/>"
    hook(api, backend, body)
    assert "no such control" in api.get("/label-studio").json()["connections"][0]["problem"]


def test_new_tasks_are_fetched_soon_and_training_starts(api: Api, backend: str, sessions: Sessions) -> None:
    hook(api, backend, recorded(37))
    with sessions.begin() as session:
        assert session.scalars(sa.select(LabelStudioConnection)).one().sync_due_at is not None
    assert api.get("/label-studio").json()["connections"][0]["tasks"] == 1
    hook(api, backend, recorded(36))
    hook(api, backend, recorded(36))
    assert [job["kind"] for job in api.get("/jobs").json()["jobs"]] == ["train"]
    assert api.post(f"{backend}/job_status", {}).json() == {"job_status": "queued"}


def test_the_token_is_a_secret(api: Api, backend: str, app: FastAPI, sessions: Sessions) -> None:
    assert_problem(api.get("/label-studio/lst_00000000_nonsense/health"), 401, "unknown_token")
    assert_problem(api.post("/label-studio/x/webhook", recorded(20)), 401, "unknown_token")
    listed = api.get("/label-studio").text
    secret = backend.split("_", 2)[2]  # which may have more of them
    assert TOKEN not in listed
    assert secret not in listed
    with sessions.begin() as session:
        stored = session.scalars(sa.select(LabelStudioConnection)).one()
        assert secret not in stored.digest
    assert secret not in redacted_text(f"POST {backend}/webhook failed")
    assert f"lst_{stored.prefix}" in redacted_text(f"POST {backend}/webhook failed")
    assert api.client.delete(f"/label-studio/{stored.prefix}").json()["left"] is None
    assert_problem(api.get(f"{backend}/health"), 401, "unknown_token")


def test_with_keys_on_guesses_are_counted_and_refused(keyed: Keyed, studio: FakeLabelStudio) -> None:
    mine, auditor = keyed.new("admin", projects=["p"]), keyed.new("admin")
    assert auditor.get("/audit").status_code == 200
    mine.project(classes=("pos", "neg"))
    refused = mine.post("/label-studio", {"project": "p", "url": studio.url, "token": TOKEN, "label_studio_project": 1})
    assert_problem(refused, 422, "address_refused", "private", "LOOKAHEAD_PRIVATE_ADDRESSES")
    assert studio.requests == []
    limited = keyed.app.state.backends
    limited._failures = 5
    answers = [keyed.client.get(f"/label-studio/lst_{k:08d}_x/health").status_code for k in range(7)]
    assert (answers[0], answers[-1]) == (401, 429)
    entries = auditor.get("/audit").json()["entries"]
    assert {entry["path"] for entry in entries if entry["status"] == 401} == {"/label-studio/{token}/health"}


def test_a_project_of_label_studio_has_one_connection(
    settings: ServiceSettings, sessions: Sessions, studio: FakeLabelStudio
) -> None:
    with keyed_service(settings, sessions, lookahead_private_addresses="on") as service:
        everybody, tenant = service.new("admin"), service.new("admin", projects=["other"])
        made = connect(everybody, studio)
        tenant.project("other", classes=("pos", "neg"))
        body = {"url": f"{studio.url}/", "token": TOKEN, "label_studio_project": 1}
        again = everybody.post("/label-studio", {"project": "other", **body})
        assert_problem(again, 409, "already_connected", made["id"], "'p'", "one order")
        hidden = tenant.post("/label-studio", {"project": "other", **body})
        assert_problem(hidden, 409, "already_connected", "connected already:")
        assert made["id"] not in hidden.text
        assert everybody.client.delete("/projects/p").status_code == 202
        assert tenant.post("/label-studio", {"project": "other", **body}).status_code == 201
