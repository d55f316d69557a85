"""The label log: in order, without gaps, once, whoever sends what at the same time."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.api import Api, assert_problem


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()
    api.pool(items=40)


def log(api: Api) -> list[tuple[Any, ...]]:
    entries = api.get("/labels", project="p").json()["labels"]
    return [(e["seq"], e["item"], e["kind"], e["label"]) for e in entries]


def together(*calls: Callable[[], Any]) -> None:
    """All at the same time."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> None:
        barrier.wait()
        call()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_label_correct_skip_withdraw(api: Api) -> None:
    answer = api.label("item-3", "b", annotator="ann")
    assert answer.status_code == 201
    assert answer.json() == {"seq": 1, "item": "item-3", "label": "b", "skip": False}
    assert api.label("item-3", 2).json()["label"] == "c"  # type: ignore[arg-type]
    assert api.label("item-4", skip=True).json() == {"seq": 3, "item": "item-4", "label": None, "skip": True}
    assert api.label("item-3", None).json()["label"] is None
    assert log(api) == [
        (1, "item-3", "label", "b"),
        (2, "item-3", "label", "c"),
        (3, "item-4", "skip", None),
        (4, "item-3", "withdraw", None),
    ]
    assert api.get("/labels", project="p").json()["labels"][0]["annotator"] == "ann"
    states = {i["item"]: i["state"] for i in api.get("/projects/p/items", limit=5).json()["items"]}
    assert states == {
        "item-0": "unlabeled",
        "item-1": "unlabeled",
        "item-2": "unlabeled",
        "item-3": "unlabeled",
        "item-4": "skipped",
    }
    project = api.get("/projects/p").json()
    assert (project["labels"], project["skips"], project["unlabeled"], project["label_seq"]) == (0, 1, 39, 4)


def test_pages(api: Api) -> None:
    for k in range(7):
        api.label(f"item-{k}")
    first = api.get("/labels", project="p", limit=5).json()
    assert [e["seq"] for e in first["labels"]] == [1, 2, 3, 4, 5]
    assert (first["next"], first["label_seq"]) == (5, 7)
    rest = api.get("/labels", project="p", limit=5, after_seq=first["next"]).json()
    assert ([e["seq"] for e in rest["labels"]], rest["next"]) == ([6, 7], None)
    page = api.get("/projects/p/items", state="unlabeled", limit=10).json()
    assert [i["position"] for i in page["items"]] == list(range(7, 17))
    assert api.get("/projects/p/items", after=page["next"], limit=3).json()["items"][0]["position"] == 17


def test_an_event_id_counts_once(api: Api) -> None:
    first = api.label("item-1", "a", event_id="e1")
    again = api.label("item-1", "a", event_id="e1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert_problem(api.label("item-1", "b", event_id="e1"), 409, "event_conflict", "seq 1")
    assert_problem(api.label("item-2", "a", event_id="e1"), 409, "event_conflict")
    body = {
        "project": "p",
        "labels": [{"item": "item-5", "label": "a"}, {"item": "item-6", "label": "a", "event_id": "e1"}],
    }
    assert_problem(api.post("/labels", body), 409, "event_conflict")
    assert len(log(api)) == 1


def test_an_event_id_counts_once_in_a_race(api: Api) -> None:
    answers: list[Any] = []
    together(*[lambda: answers.append(api.label("item-1", "a", event_id="e")) for _ in range(8)])
    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["seq"] for answer in answers} == {1}
    assert len(log(api)) == 1


def test_no_gaps_and_nothing_lost_from_eight_at_once(api: Api) -> None:
    answers: list[tuple[int, str]] = []

    def send(k: int) -> None:
        for step in range(10):
            item = f"item-{(k * 10 + step) % 40}"
            answers.append((api.label(item, "abc"[step % 3]).json()["seq"], item))

    together(*[lambda k=k: send(k) for k in range(8)])
    assert sorted(seq for seq, _ in answers) == list(range(1, 81))
    assert [(seq, item) for seq, item, _, _ in log(api)] == sorted(answers)
    latest = {item: label for _, item, _, label in log(api)}
    shown = {i["item"]: i["label"] for i in api.get("/projects/p/items", limit=100).json()["items"]}
    assert shown == latest


def test_many_at_once(api: Api) -> None:
    entries = [
        {"item": "item-0", "label": "a"},
        {"item": "item-1", "label": 2, "annotator": "ann"},
        {"item": "item-0", "label": "a"},
        {"item": "item-2", "skip": True},
    ]
    answer = api.post("/labels", {"project": "p", "labels": entries})
    assert answer.status_code == 201
    assert answer.json() == {"first_seq": 1, "last_seq": 3, "accepted": 3}
    assert [entry[1:] for entry in log(api)] == [
        ("item-0", "label", "a"),
        ("item-1", "label", "c"),
        ("item-2", "skip", None),
    ]


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("l.csv", "text/csv", '\ufeffitem,label,annotator\nitem-1,a,ann\n"item-2","b",\n'),
        ("l.jsonl", "application/x-ndjson", '{"item": "item-1", "label": "a"}\n\n{"item": "item-2", "label": 1}\n'),
    ],
)
def test_files(name: str, kind: str, data: str, api: Api) -> None:
    upload = api.client.post("/labels", data={"project": "p"}, files={"file": (name, data.encode())})
    assert upload.json() == {"first_seq": 1, "last_seq": 2, "accepted": 2}
    body = api.client.post("/labels", params={"project": "p"}, content=data.encode(), headers={"content-type": kind})
    assert body.json() == {"first_seq": 3, "last_seq": 4, "accepted": 2}
    assert [entry[1:] for entry in log(api)][:2] == [("item-1", "label", "a"), ("item-2", "label", "b")]


def test_a_hundred_thousand_at_once(api: Api) -> None:
    api.project("big")
    api.pool(items=100_000, name="big", features=1)
    labels = [{"item": f"item-{k}", "label": k % 3} for k in range(100_000)]
    answer = api.post("/labels", {"project": "big", "labels": labels})
    assert answer.json() == {"first_seq": 1, "last_seq": 100_000, "accepted": 100_000}
    assert api.get("/projects/big").json()["labels"] == 100_000
