"""Suggestions for several annotators: own skips, overlap, another rule while the model is warm, requests sent twice."""

import time

import pytest
import torch

from tests.api import Api, Json, names
from tests.worker.model import Reference
from worker.context import Context


@pytest.fixture(params=["kernel", "random"])
def strategy(request: pytest.FixtureRequest, api: Api, working: Context) -> str:
    api.project()
    api.pool(items=6)
    if request.param == "random":
        return "random"
    job = api.mlp()
    deadline = time.monotonic() + 20
    while api.get(f"/jobs/{job['id']}").json()["status"] != "succeeded":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return "mlmoc"


def rest(api: Api, strategy: str, annotator: str | None = None) -> tuple[set[str], Json]:
    """(items suggested when all are asked for, the answer)."""
    answer = api.suggest(count=7, strategy=strategy, annotator=annotator, lease_seconds=0)
    assert answer.status_code == 200, answer.text
    return {entry["item"] for entry in answer.json()["suggestions"]}, answer.json()


def test_an_own_skip_keeps_the_item_from_its_annotator_only(api: Api, strategy: str) -> None:
    everything = set(names(6))
    api.label("item-0", skip=True, own=True, annotator="ann")
    found, answer = rest(api, strategy, "ann")
    assert (found, answer["reason"]) == (everything - {"item-0"}, "annotator_has_done_the_rest")
    assert rest(api, strategy, "bob")[0] == rest(api, strategy)[0] == everything
    api.label("item-0", None, annotator="ann")
    assert rest(api, strategy, "ann")[0] == everything


def test_overlap_asks_others_until_enough_have_answered(api: Api, strategy: str) -> None:
    everything = set(names(6))
    api.client.patch("/projects/p/labeling", json={"rule": "overlap", "overlap": 2})
    held = api.suggest(strategy=strategy, annotator="bob").json()["suggestions"][0]["item"]
    api.label(held, "a", annotator="ann")
    assert rest(api, strategy, "ann")[0] == everything - {held}
    # Bob still holds it: only his own answer ends his lease.
    assert held not in rest(api, strategy, "eve")[0]
    assert held in rest(api, strategy, "bob")[0]
    assert api.get("/projects/p").json()["labels"] == 0
    api.label(held, "b", annotator="bob")
    for who in ("ann", "bob", "eve", None):
        assert held not in rest(api, strategy, who)[0]
    assert (api.get("/projects/p").json()["labels"], api.get("/projects/p").json()["open_suggestions"]) == (1, 0)
    for k in range(6):
        api.label(f"item-{k}", "c", annotator="ann")
    assert rest(api, strategy, "ann")[1]["reason"] == "annotator_has_done_the_rest"
    assert rest(api, strategy, "eve")[0] == everything - {held}


def test_another_rule_reaches_a_warm_model(api: Api, working: Context) -> None:
    model = Reference(api, items=20, dtype="float64", window=12)
    model.prepare()

    def say(index: int, *said: tuple[str, int]) -> None:
        for who, label in said:
            api.label(model.names[index], model.classes[label], annotator=who)

    say(0, ("ann", 0), ("bob", 0), ("eve", 1))
    say(1, ("ann", 2))
    say(2, ("ann", 1), ("bob", 2), ("eve", 2))

    def check(labels: dict[int, int]) -> None:
        model.labels = labels
        assert torch.allclose(model.predictions(), model.expected_outputs(), rtol=1e-8, atol=1e-8)

    check({0: 1, 1: 2, 2: 2})
    for rule, labels in (
        ({"rule": "majority"}, {0: 0, 1: 2, 2: 2}),
        ({"rule": "overlap", "overlap": 3}, {0: 0, 2: 2}),
        ({"rule": "overlap", "overlap": 4}, {}),
        ({"rule": "latest"}, {0: 1, 1: 2, 2: 2}),
    ):
        assert api.client.patch("/projects/p/labeling", json=rule).status_code == 200
        check(labels)
        found = {s["item"] for s in api.suggest(count=20, options={"batch": "top_k"}).json()["suggestions"]}
        assert not found & {model.names[k] for k in labels}
    say(3, ("ann", 0))
    check({0: 1, 1: 2, 2: 2, 3: 0})


def test_a_suggestion_asked_for_twice_is_leased_once(api: Api, strategy: str) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"project": "p", "strategy": strategy, "count": 2, "annotator": "ann"}
    first = api.post("/suggest", body, headers={**key, "Prefer": "wait=0"})
    assert first.status_code == 202
    again, third = (api.post("/suggest", body, headers=key) for _ in range(2))
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    kept = api.get(f"/jobs/{first.json()['id']}").json()["result"]
    assert again.json() == third.json()
    assert again.json()["suggestions"] == kept["suggestions"]
    assert api.get("/projects/p").json()["open_suggestions"] == 2
    assert [job["kind"] for job in api.get("/jobs").json()["jobs"]].count("suggest") == 1
    assert api.post("/suggest", {**body, "count": 3}, headers=key).json()["code"] == "idempotency_conflict"


def test_a_suggestion_that_failed_may_be_asked_for_again(
    api: Api, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("worker.suggest._save", fail)
    key = {"Idempotency-Key": "k"}
    body = {"project": "p", "strategy": strategy}
    assert api.post("/suggest", body, headers=key).status_code == 500
    monkeypatch.undo()
    assert api.post("/suggest", body, headers=key).status_code == 200
