"""What /suggest promises: leases, exhaustion, reproducibility, waiting."""

import threading
import time

import pytest
import sqlalchemy as sa
import torch
from sqlalchemy.orm import Session

from store import pools
from store.tables import Suggestion
from tests.api import Api, Json, assert_problem
from worker.context import Context


@pytest.fixture
def ready(api: Api, working: Context) -> Context:
    """A prepared project of 12 items."""
    api.project()
    api.pool(items=12)
    job = api.mlp()
    deadline = time.monotonic() + 20
    while api.get(f"/jobs/{job['id']}").json()["status"] != "succeeded":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return working


def items(answer: Json) -> list[str]:
    return [entry["item"] for entry in answer["suggestions"]]


def test_the_answer_says_how_to_repeat_it(api: Api, ready: Context) -> None:
    api.label("item-4")
    answer = api.suggest(count=3, headers={"Prefer": "wait=5"})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=5"
    body = answer.json()
    assert body["strategy"] == "mlmoc"
    assert "auto chose mlmoc" in body["reason"]
    assert (body["label_seq"], body["candidates"]) == (1, 11)
    assert body["checkpoint"].startswith("ckpt-")
    assert {"catch_up", "score", "store"} <= body["timings"].keys()
    again = api.suggest(count=3, strategy=body["strategy"], options=body["options"], seed=body["seed"]).json()
    assert again["suggestions"] == body["suggestions"]


def test_random_follows_its_seed(api: Api, ready: Context) -> None:
    one, same, other = (items(api.suggest(count=12, strategy="random", seed=s).json()) for s in (1, 1, 2))
    assert one == same != other
    assert sorted(one) == sorted(other)


def test_random_works_before_any_checkpoint(api: Api, working: Context) -> None:
    api.project()
    api.pool(items=5)
    api.label("item-0")
    body = api.suggest(count=9, strategy="random").json()
    assert sorted(items(body)) == [f"item-{k}" for k in range(1, 5)]
    assert body["checkpoint"] is None
    assert body["suggestions"][0]["predicted"] is None
    assert body["reason"] == "fewer_items_left"


def test_a_label_that_comes_while_the_pool_is_read_is_not_promised(
    api: Api, working: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.project()
    api.pool(items=2)
    read = pools.unlabeled_positions

    def read_then_labeled(session: Session, project_id: int) -> list[int]:
        found = read(session, project_id)
        monkeypatch.undo()
        assert api.label("item-0").status_code == 201
        return found

    monkeypatch.setattr(pools, "unlabeled_positions", read_then_labeled)
    body = api.suggest(count=2, strategy="random").json()
    assert sorted(items(body)) == ["item-0", "item-1"]
    assert body["label_seq"] == 0


def test_two_annotators_never_hold_the_same_item(api: Api, ready: Context) -> None:
    held: dict[str, list[str]] = {}

    def ask(annotator: str) -> None:
        held[annotator] = items(api.suggest(count=4, annotator=annotator).json())

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("ann", "bob", "eve")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [item for found in held.values() for item in found]
    assert sorted(everything) == sorted(f"item-{k}" for k in range(12))
    assert api.get("/projects/p").json()["open_suggestions"] == 12
    fourth = api.suggest(annotator="dan").json()
    assert (fourth["suggestions"], fourth["reason"]) == ([], "others_hold_the_rest")
    # Asking again renews, and a label ends the lease.
    assert set(items(api.suggest(count=4, annotator="ann").json())) == set(held["ann"])
    api.label(held["bob"][0])
    assert api.get("/projects/p").json()["open_suggestions"] == 11
    assert len(api.get("/projects/p/items", state="leased").json()["items"]) == 11


def test_memory_is_bounded_and_what_was_dropped_comes_back(api: Api, ready: Context) -> None:
    first = items(api.suggest(count=3).json())
    api.project("q")
    api.pool(name="q")
    job = api.mlp("q")
    while api.get(f"/jobs/{job['id']}").json()["status"] != "succeeded":
        time.sleep(0.01)
    api.suggest("q")
    assert len(ready.live._states) == 2
    ready.live.max_bytes = 1
    api.suggest("q")
    assert len(ready.live._states) == 1
    assert items(api.suggest(count=3).json()) == first
    assert len(ready.live._states) == 1


def test_numbers_past_all_range_are_a_failure_of_ours(
    api: Api, ready: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.picks.influence", lambda *_: (torch.tensor([[1]]), torch.tensor([[torch.inf]])))
    assert_problem(api.suggest(), 500, "numerical_failure", "range")
    monkeypatch.undo()
    assert api.suggest().status_code == 200


def test_a_greedy_batch_is_bounded(api: Api, ready: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.picks.GREEDY_MAX", 4)
    assert_problem(api.suggest(count=5), 422, "batch_too_large", "top_k")
    assert len(items(api.suggest(count=4).json())) == 4
    assert len(items(api.suggest(count=99, options={"batch": "top_k"}).json())) == 12


def test_leases_end_and_peeks_hold_nothing(api: Api, ready: Context) -> None:
    first = items(api.suggest(count=2, annotator="ann", lease_seconds=60).json())
    assert not set(first) & set(items(api.suggest(count=10).json()))
    with ready.sessions.begin() as session:
        session.execute(sa.update(Suggestion).values(lease_until=sa.func.now()))
    assert set(first) <= set(items(api.suggest(count=12).json()))
    assert set(first) <= set(items(api.suggest(count=12, annotator="ann", lease_seconds=0).json()))
    assert api.get("/projects/p").json()["open_suggestions"] == 0


def test_a_used_up_pool(api: Api, ready: Context) -> None:
    for k in range(11):
        api.label(f"item-{k}", "abc"[k % 3])
    api.label("item-11", skip=True)
    for strategy in ("auto", "random", "margin"):
        answer = api.suggest(strategy=strategy)
        assert answer.status_code == 200
        assert (answer.json()["suggestions"], answer.json()["reason"]) == ([], "pool_exhausted")
    assert "Every item is labeled or skipped." in api.get("/projects/p").json()["advice"]
    api.label("item-11", None)
    assert items(api.suggest(count=5).json()) == ["item-11"]


def test_one_candidate_has_no_reasons_to_give(api: Api, ready: Context) -> None:
    for k in range(11):
        api.label(f"item-{k}", "abc"[k % 3])
    only = api.suggest().json()["suggestions"]
    assert [(s["item"], s["why"]) for s in only] == [("item-11", [])]


def test_not_waiting_gets_a_job(api: Api, ready: Context) -> None:
    answer = api.suggest(headers={"Prefer": "respond-async, wait=0"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    assert answer.headers["retry-after"] == "1"
    with api.client.stream("GET", answer.headers["location"] + "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = [line for line in stream.iter_lines() if line.startswith("data:")]
    assert '"status":"succeeded"' in events[-1]
    listed = api.get("/jobs", project="p", status="succeeded").json()["jobs"]
    assert answer.json()["id"] in [job["id"] for job in listed]
    pages = [api.get("/jobs", limit=1).json()]
    while pages[-1]["next"]:
        pages.append(api.get("/jobs", limit=1, before=pages[-1]["next"]).json())
    assert [page["jobs"][0]["kind"] for page in pages[:-1]] == ["suggest", "prepare"]
    assert pages[-1]["jobs"] == []


def test_project_defaults(api: Api, ready: Context) -> None:
    defaults = {"strategy": "margin", "options": {"why": 1}, "lease_seconds": 0}
    api.project("q", defaults=defaults)
    api.pool(name="q")
    assert_problem(api.suggest("q"), 409, "not_prepared")
    assert api.get("/projects/q").json()["defaults"] == {"retrain_after": 200, "stop_below": 0.0005} | defaults


def test_held_out_items_are_predicted_and_never_suggested(api: Api, ready: Context) -> None:
    added = api.pool(items=4, prefix="test-", seed=5, held_out="true")
    assert added["job"] is None
    assert set(items(api.suggest(count=99).json())) == {f"item-{k}" for k in range(12)}
    before = api.get("/projects/p/predictions", items="test-1,item-0,test-1").json()["predictions"]
    assert [entry["item"] for entry in before] == ["test-1", "item-0", "test-1"]
    assert before[0] == before[2]
    api.label("item-0", "c")
    after = api.get("/projects/p/predictions", items="test-1,item-0").json()["predictions"]
    assert after[0]["outputs"] != before[0]["outputs"]
    assert after[1]["predicted"] == "c"
    assert_problem(api.label("test-1"), 422, "item_held_out")
