"""Several annotators of one item: rules, own skips, opinions and history, and uploads that come twice."""

from typing import Any

import numpy as np
import pytest

from tests.api import Api, Json, assert_problem, npz, vectors


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()
    api.pool(items=8)


def states(api: Api) -> dict[str, str]:
    found = api.get("/projects/p/items").json()["items"]
    return {i["item"]: i["label"] or i["state"] for i in found if i["label"] or i["state"] != "unlabeled"}


def rule(api: Api, body: Json, name: str = "p") -> Any:
    return api.client.patch(f"/projects/{name}/labeling", json=body)


def test_the_rule_of_a_project(api: Api) -> None:
    assert api.get("/projects/p").json()["labeling"] == {"rule": "latest", "overlap": None}
    api.project("q", labeling={"rule": "overlap", "overlap": 2})
    assert api.get("/projects/q").json()["labeling"] == {"rule": "overlap", "overlap": 2}
    assert rule(api, {"rule": "majority"}).json()["labeling"]["rule"] == "majority"
    for wrong in ({"rule": "overlap"}, {"rule": "majority", "overlap": 3}, {"rule": "overlap", "overlap": 21}):
        assert_problem(rule(api, wrong), 422, "invalid_request", "overlap")
        made = api.post("/projects", {"name": "r", "classes": ["a", "b"], "labeling": wrong})
        assert_problem(made, 422, "invalid_request", "overlap")
    assert_problem(rule(api, {"rule": "latest"}, "nowhere"), 404, "unknown_project")


def test_another_rule_counts_what_was_said_anew(api: Api) -> None:
    for who, label in (("ann", "a"), ("bob", "a"), ("eve", "b")):
        api.label("item-0", label, annotator=who)
    api.label("item-1", "c", annotator="ann")
    api.label("item-1", skip=True, annotator="bob")
    api.label("item-2", "a", annotator="ann")
    api.label("item-2", None, annotator="bob")
    latest = {"item-0": "b", "item-1": "skipped"}
    assert states(api) == latest
    assert rule(api, {"rule": "majority"}).json()["labels"] == 2
    assert states(api) == {"item-0": "a", "item-1": "skipped", "item-2": "a"}
    rule(api, {"rule": "overlap", "overlap": 3})
    assert states(api) == {"item-0": "a", "item-1": "skipped"}
    rule(api, {"rule": "latest"})
    assert states(api) == latest
    assert api.get("/projects/p").json()["label_seq"] == 7


def test_a_rule_waits_for_jobs_that_have_read_the_labels(api: Api) -> None:
    api.label("item-0", "a")
    job = api.mlp()
    assert assert_problem(rule(api, {"rule": "majority"}), 409, "project_busy", job["id"])["job"] == job["id"]
    assert api.get("/projects/p").json()["labeling"]["rule"] == "latest"
    api.post(f"/jobs/{job['id']}/cancel")
    assert rule(api, {"rule": "majority"}).status_code == 200


def test_an_own_skip_needs_a_name_and_leaves_the_item(api: Api) -> None:
    assert_problem(api.label("item-0", skip=True, own=True), 422, "invalid_request", "annotator")
    wrong = api.post("/label", {"project": "p", "item": "item-0", "label": "a", "own": True, "annotator": "ann"})
    assert_problem(wrong, 422, "invalid_request", "own")
    api.label("item-0", skip=True, own=True, annotator="ann")
    assert states(api) == {}
    api.label("item-0", "b", annotator="bob")
    api.label("item-0", None, annotator="ann")
    assert states(api) == {"item-0": "b"}
    api.label("item-0", None, annotator="ann")
    assert states(api) == {}
    assert [e["own"] for e in api.get("/labels", project="p").json()["labels"]] == [True, False, False, False]


def test_one_item_with_opinions_and_history(api: Api) -> None:
    api.upload(npz(x=vectors(1), ids=np.array(["a/b ?c"])))
    api.label("a/b ?c", "a", annotator="ann")
    api.label("a/b ?c", "b")
    api.label("a/b ?c", skip=True, own=True, annotator="bob")
    api.label("item-1", "c", annotator="ann")
    found = api.get("/projects/p/items/a%2Fb%20%3Fc").json()
    assert (found["item"], found["label"], found["state"]) == ("a/b ?c", "b", "labeled")
    said = [(o["annotator"], o["label"], o["skip"], o["own"], o["seq"]) for o in found["opinions"]]
    assert said == [("ann", "a", False, False, 1), (None, "b", False, False, 2), ("bob", None, True, True, 3)]
    assert [e["seq"] for e in found["events"]] == [1, 2, 3]
    assert_problem(api.get("/projects/p/items/none"), 404, "unknown_item", "none")

    def seqs(**query: Any) -> list[int]:
        return [e["seq"] for e in api.get("/labels", project="p", **query).json()["labels"]]

    assert (seqs(annotator="ann"), seqs(item="a/b ?c"), seqs(item="item-1", annotator="bob")) == ([1, 4], [1, 2, 3], [])
    assert_problem(api.get("/labels", project="p", item="none"), 404, "unknown_item")


def bulk(api: Api, *entries: tuple[str, str, str | None, str | None]) -> Any:
    rows = [
        {"item": item, "label": label}
        | ({"annotator": who} if who else {})
        | ({"event_id": event_id} if event_id else {})
        for item, label, who, event_id in entries
    ]
    return api.post("/labels", {"project": "p", "labels": rows})


def test_several_annotators_in_one_upload(api: Api) -> None:
    rule(api, {"rule": "majority"})
    assert bulk(api, *[("item-0", label, who, None) for who, label in (("x", "a"), ("y", "b"), ("z", "b"))]).json() == {
        "first_seq": 1,
        "last_seq": 3,
        "accepted": 3,
    }
    assert states(api) == {"item-0": "b"}
    twice = bulk(api, ("item-0", "a", "x", None), ("item-0", "b", "x", None))
    assert_problem(twice, 422, "conflicting_labels", "entries 1 and 2")


def test_an_upload_that_comes_again_keeps_its_numbers(api: Api) -> None:
    first = [("item-0", "a", None, "e0"), ("item-1", "b", None, "e1")]
    answer = bulk(api, *first).json()
    assert bulk(api, *first).json() == answer == {"first_seq": 1, "last_seq": 2, "accepted": 2}
    api.label("item-5", "c")
    longer = [*first, ("item-2", "c", None, "e2")]
    assert bulk(api, *longer).json() == {"first_seq": 1, "last_seq": 4, "accepted": 3}
    assert bulk(api, *longer).json() == {"first_seq": 1, "last_seq": 4, "accepted": 3}
    assert api.get("/projects/p").json()["label_seq"] == 4
    assert states(api) == {"item-0": "a", "item-1": "b", "item-2": "c", "item-5": "c"}
    assert_problem(bulk(api, ("item-3", "a", None, None), ("item-0", "b", None, "e0")), 409, "event_conflict", "e0")
    both = bulk(api, ("item-3", "a", None, "same"), ("item-4", "a", None, "same"))
    assert_problem(both, 409, "event_conflict", "entries 1 and 2")
    assert api.get("/projects/p").json()["label_seq"] == 4


def test_lines_end_where_json_lines_do_and_columns_come_once(api: Api) -> None:
    lines = '{"item": "item-1", "label": "a", "annotator": "x\u2028y"}\r\n\n{"item": "item-2", "label": "b"}'

    def send(kind: str, text: str) -> Any:
        return api.client.post(
            "/labels", params={"project": "p"}, content=text.encode(), headers={"content-type": kind}
        )

    assert send("application/x-ndjson", lines).json()["accepted"] == 2
    assert api.get("/labels", project="p").json()["labels"][0]["annotator"] == "x\u2028y"
    assert_problem(send("text/csv", "item,label,label\nitem-1,a,b\n"), 422, "invalid_labels", "'label'", "twice")
