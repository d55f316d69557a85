"""The job of a connection against a stand-in server: reading, mending, ordering."""

import io
import time
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from PIL import Image

from ntk.acquisition.uncertainty import nearest_probabilities
from store.database import Sessions
from store.tables import Item, Job, LabelStudioConnection, LabelStudioTask
from studio import predictions
from studio.predictions import VERSION_PREFIX
from tests.api import Api
from tests.label_studio.fake import FakeLabelStudio, Json, connect
from tests.worker.conftest import run_queued
from worker.context import Context
from worker.label_studio import ordering, schedule


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' one worker runs the scoring itself, at once."""
    monkeypatch.setattr(ordering, "PATIENCE_SECONDS", 0.0)


def ran(api: Api, worker: Context, path: str, **body: object) -> Json:
    """The job that a request starts, once it has ended."""
    answer = api.post(path, body)
    assert answer.status_code == 202, answer.text
    run_queued(worker)
    found: Json = api.get(f"/jobs/{answer.json()['id']}").json()
    return found


def synced(api: Api, worker: Context, connection: Json, **body: object) -> Json:
    job = ran(api, worker, f"/label-studio/{connection['id']}/sync", **body)
    assert job["status"] == "succeeded", job["error"]
    result: Json = job["result"]
    return result


def said(api: Api) -> list[tuple[str, str, str | None]]:
    return [(e["item"], e["kind"], e["label"]) for e in api.get("/labels", project="p").json()["labels"]]


def test_reading_adds_tasks_and_mends_what_webhooks_missed(api: Api, worker: Context, studio: FakeLabelStudio) -> None:
    studio.add_tasks(6)
    studio.annotate(1, "pos")
    studio.annotate(2, None)
    made = connect(api, studio)
    result = synced(api, worker, made, order=False)
    assert (result["tasks"], result["added"], result["events"]) == (6, 6, 2)
    assert said(api) == [("task-1", "label", "pos"), ("task-2", "skip", None)]
    assert api.get("/projects/p").json()["input_shape"] == [1024]
    (shown,) = api.get("/projects/p/contents", items="task-2").json()["contents"]
    assert (shown["kind"], shown["text"]) == ("text", studio.tasks[2]["data"]["text"])
    assert synced(api, worker, made, order=False)["events"] == 0
    # New, changed, deleted, skipped, and a new task; read as what changed only.
    studio.annotate(3, "neg")
    studio.annotate(1, "neg", number=1)
    studio.delete_annotation(2)
    studio.annotate(4, None)
    studio.add_tasks(1)
    result = synced(api, worker, made, order=False, everything=False)
    assert (result["added"], result["events"]) == (1, 4)
    assert sorted(said(api)[2:], key=str) == [
        ("task-1", "label", "neg"),
        ("task-2", "withdraw", None),
        ("task-3", "label", "neg"),
        ("task-4", "skip", None),
    ]
    del studio.tasks[3], studio.annotations[3]
    assert synced(api, worker, made, order=False)["events"] == 2
    assert said(api)[-2:] == [("task-3", "withdraw", None), ("task-3", "skip", None)]


def test_the_order_is_that_of_the_scores(api: Api, worker: Context, studio: FakeLabelStudio, quick: None) -> None:
    studio.add_tasks(30)
    for task in (1, 2, 3, 4):
        studio.annotate(task, "pos" if task % 2 else "neg")
    made = connect(api, studio)
    assert synced(api, worker, made)["order"] == "not_prepared"
    ran(api, worker, "/projects/p/train", epochs=0)
    run_queued(worker)
    studio.predictions.append({"task": 9, "score": 0.0, "model_version": f"{VERSION_PREFIX}left-over", "result": []})
    studio.predictions.append({"task": 9, "score": 0.0, "model_version": "somebody else's", "result": []})
    result = synced(api, worker, made)
    assert (result["ranked"], result["label_seq"]) == (26, 4)
    assert studio.project["model_version"] == result["order"]
    assert {p["model_version"] for p in studio.predictions} == {"somebody else's", result["order"]}
    best = api.post("/suggest", {"project": "p", "count": 26, "options": {"batch": "top_k", "why": 0}})
    run_queued(worker)
    suggested = api.get(f"/jobs/{best.json()['id']}").json()["result"]
    assert result["strategy"] == suggested["strategy"]
    assert [f"task-{task}" for task in studio.served()] == [each["item"] for each in suggested["suggestions"]]
    first = studio.served()[0]
    told = next(p for p in studio.predictions if p["task"] == first and p["model_version"] == result["order"])
    assert told["score"] == 0.0
    region = told["result"][0]
    assert (region["from_name"], region["to_name"], region["type"]) == ("cls", "txt", "choices")
    assert region["value"]["choices"][0] in {"pos", "neg"}
    assert 0.5 <= region["score"] <= 1
    assert api.post(f"{made['backend']}/setup", {}).json() == {"model_version": result["order"]}
    # A label later the order is another, under another version, and the labeled task is out of it.
    studio.annotate(first, "neg")
    again = synced(api, worker, made, everything=False)
    assert again["order"] != result["order"]
    assert first not in {p["task"] for p in studio.predictions if p["model_version"] == again["order"]}
    # Of the scores of all candidates nothing is left behind in the jobs.
    scored = [api.get(f"/jobs/{j['id']}").json() for j in api.get("/jobs").json()["jobs"] if j["kind"] == "score"]
    assert [job["result"] for job in scored] == [{"candidates": 25}, {"candidates": 26}]


def test_a_task_that_went_meanwhile_does_not_stop_the_order(
    api: Api, worker: Context, studio: FakeLabelStudio, quick: None
) -> None:
    studio.add_tasks(12)
    made = connect(api, studio)
    synced(api, worker, made, order=False)
    ran(api, worker, "/projects/p/train", epochs=0)
    run_queued(worker)
    del studio.tasks[5]
    job = api.post(f"/label-studio/{made['id']}/sync", {"everything": False}).json()
    run_queued(worker)
    assert api.get(f"/jobs/{job['id']}").json()["result"]["ranked"] == 11
    assert 5 not in studio.served()


def test_predictions_are_those_of_the_model(
    api: Api, worker: Context, working: Context, studio: FakeLabelStudio, quick: None
) -> None:
    studio.add_tasks(8)
    made = connect(api, studio)
    job = api.post(f"/label-studio/{made['id']}/sync", {"order": False}).json()
    wait_for(api, job)
    wait_for(api, api.post("/projects/p/train", {"epochs": 0}).json())
    deadline = time.monotonic() + 20
    while api.get("/projects/p").json()["kernel_state"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    studio.annotate(1, "pos")
    answer = api.post(f"{made['backend']}/predict", {"tasks": [{"id": 3}, {"id": 999}, {"id": 1}]}).json()
    outputs = api.get("/projects/p/predictions", items="task-3").json()["predictions"][0]
    regions = answer["results"][0]["result"]
    assert regions[0]["value"]["choices"] == [outputs["predicted"]]
    wanted = nearest_probabilities(torch.tensor([outputs["outputs"]], dtype=torch.float64)).max().item()
    assert regions[0]["score"] == pytest.approx(wanted)
    assert answer["results"][1] == {"result": [], "score": 1.0, "model_version": "lookahead-0"}
    assert answer["results"][2]["result"]


def wait_for(api: Api, job: Json) -> None:
    deadline = time.monotonic() + 30
    while api.get(f"/jobs/{job['id']}").json()["status"] not in {"succeeded", "failed"}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert api.get(f"/jobs/{job['id']}").json()["status"] == "succeeded"


def test_confidence_is_the_nearest_probability() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 5))
    wanted = nearest_probabilities(torch.from_numpy(rows)).amax(dim=1).tolist()
    assert [predictions.nearest_probability(row) for row in rows.tolist()] == pytest.approx(wanted)


def test_pictures_become_items_and_what_is_none_is_left_out(api: Api, worker: Context, studio: FakeLabelStudio) -> None:
    studio.project["label_config"] = (
        '<View><Image name="img" value="$image"/><Choices name="cls" toName="img"><Choice value="pos"/>'
        '<Choice value="neg"/></Choices></View>'
    )
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        file = io.BytesIO()
        Image.new("RGB", (20, 10), colour).save(file, "PNG")
        studio.pictures[f"/data/upload/1/{name}.png"] = file.getvalue()
    studio.pictures["/data/upload/1/bad.png"] = b"GIF89a nonsense"
    for address in (
        "/data/upload/1/red.png",
        f"{studio.url}/data/upload/1/blue.png",
        "/data/upload/1/bad.png",
        "http://169.254.169.254/latest",
        "//elsewhere.example/x.png",
    ):
        studio.add_tasks(1, image=address)
    result = synced(api, worker, connect(api, studio), order=False)
    assert (result["tasks"], result["added"]) == (5, 2)
    assert "3 tasks have no image" in result["problem"]
    assert "3 tasks" in api.get("/label-studio").json()["connections"][0]["problem"]
    assert api.get("/projects/p").json()["input_shape"] == [3, 32, 32]


def test_labels_bring_an_order_after_a_pause_and_one_at_a_time(
    api: Api, worker: Context, studio: FakeLabelStudio, sessions: Sessions, quick: None
) -> None:
    studio.add_tasks(10)
    made = connect(api, studio)
    synced(api, worker, made, order=False)
    ran(api, worker, "/projects/p/train", epochs=0)
    run_queued(worker)
    # A kernel state that the order does not know: at once.
    assert schedule.start_due(worker) == 1
    assert schedule.start_due(worker) == 0
    run_queued(worker)
    assert len(studio.served()) == 10

    def change(**values: object) -> None:
        with sessions.begin() as session:
            session.execute(sa.update(LabelStudioConnection).values(**values))

    for number in (1, 2):
        body = {"action": "ANNOTATION_CREATED", "annotation": studio.annotate(number, "pos")}
        assert api.post(f"{made['backend']}/webhook", body).status_code == 201
    assert schedule.start_due(worker) == 0
    with sessions.begin() as session:
        found = session.scalars(sa.select(LabelStudioConnection)).one()
        assert found.order_due_at is not None
        assert found.order_not_before is not None
        past = found.order_due_at - timedelta(seconds=60)
    change(order_due_at=past)
    assert schedule.start_due(worker) == 0
    change(order_not_before=past)
    assert schedule.start_due(worker) == 1
    run_queued(worker)
    assert api.get("/label-studio").json()["connections"][0]["order_seq"] == 2
    # And now and then, whatever the webhooks said.
    studio.annotate(3, "neg")
    change(sync_due_at=past)
    assert schedule.start_due(worker) == 1
    run_queued(worker)
    assert said(api)[-1] == ("task-3", "label", "neg")


def test_what_label_studio_refuses_is_said_and_tried_later(
    api: Api, worker: Context, studio: FakeLabelStudio, sessions: Sessions
) -> None:
    studio.add_tasks(3)
    made = connect(api, studio)
    for status, code in ((302, "label_studio_refused"), (401, "label_studio_refused")):
        studio.fail_with = [status]
        job = ran(api, worker, f"/label-studio/{made['id']}/sync")
        assert (job["status"], job["error"]["code"]) == ("failed", code)
        assert api.get("/label-studio").json()["connections"][0]["problem"] == job["error"]["detail"]
    studio.fail_with = [500]
    assert synced(api, worker, made, order=False)["added"] == 3
    assert api.get("/label-studio").json()["connections"][0]["problem"] is None


def test_a_cancelled_reading_goes_on_where_it_was(
    api: Api, worker: Context, studio: FakeLabelStudio, sessions: Sessions
) -> None:
    studio.add_tasks(5)
    made = connect(api, studio)
    job = api.post(f"/label-studio/{made['id']}/sync", {"order": False}).json()
    busy = api.post(f"/label-studio/{made['id']}/sync", {})
    assert (busy.status_code, busy.json()["code"], busy.json()["job"]) == (409, "already_running", job["id"])
    assert api.post(f"/jobs/{job['id']}/cancel").status_code == 202
    assert synced(api, worker, made, order=False)["added"] == 5
    ended = api.client.delete(f"/label-studio/{made['id']}").json()
    assert ended["left"] is None
    with sessions.begin() as session:
        assert session.scalars(sa.select(LabelStudioTask)).all() == []
        assert len(session.scalars(sa.select(Item)).all()) == 5
        assert {found.status for found in session.scalars(sa.select(Job))} == {"cancelled", "succeeded"}


def test_a_server_that_is_away_is_a_problem_of_its_own(api: Api, studio: FakeLabelStudio) -> None:
    api.project(classes=("pos", "neg"))
    body = {"project": "p", "url": "http://127.0.0.1:1", "token": "t" * 20, "label_studio_project": 1}
    answer = api.post("/label-studio", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "label_studio_unreachable")
    wrong = api.post("/label-studio", body | {"url": studio.url})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "label_studio_refused")
    assert "t" * 20 not in wrong.text
