"""Leases: never two holders at once, whoever asks, renews, gives back or labels at the same moment."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from store.database import Sessions
from store.tables import LabelEvent, Suggestion
from tests.api import Api, assert_problem
from tests.worker.conftest import run_queued
from worker.context import Context

ITEMS = 30


@pytest.fixture
def pool(api: Api, working: Context) -> Api:
    api.project(defaults={"strategy": "random", "lease_seconds": 600})
    api.pool(items=ITEMS)
    return api


def taken(api: Api, annotator: str | None, count: int = 2, **more: Any) -> list[str]:
    answer = api.suggest(count=count, annotator=annotator, **more)
    assert answer.status_code == 200, answer.text
    return [entry["item"] for entry in answer.json()["suggestions"]]


def held(api: Api, **query: Any) -> dict[str, str]:
    answer = api.get("/projects/p/leases", **query)
    assert answer.status_code == 200, answer.text
    return {lease["item"]: lease["annotator"] for lease in answer.json()["leases"]}


def lease(api: Api, what: str, annotator: str, **more: Any) -> dict[str, list[Any]]:
    answer = api.post(f"/leases/{what}", {"project": "p", "annotator": annotator, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, list[Any]] = answer.json()
    return found


def test_release_gives_items_back_and_keeps_the_history(pool: Api, sessions: Sessions) -> None:
    mine = taken(pool, "ann", 3)
    assert held(pool) == dict.fromkeys(mine, "ann")
    assert lease(pool, "release", "ann", items=[mine[0]]) == {"released": [mine[0]]}
    assert lease(pool, "release", "ann", items=[mine[0]]) == {"released": []}
    assert lease(pool, "release", "ben") == {"released": []}
    assert held(pool) == dict.fromkeys(mine[1:], "ann")
    assert mine[0] in taken(pool, "ben", ITEMS)
    assert sorted(lease(pool, "release", "ann")["released"]) == sorted(mine[1:])
    with sessions.begin() as session:
        rows = session.scalars(sa.select(Suggestion).where(Suggestion.annotator == "ann")).all()
    assert all(row.released_at is not None and row.lease_until is not None for row in rows)
    assert all(row.created_at < row.released_at < row.lease_until for row in rows)  # type: ignore[operator]


def test_renewal_lengthens_a_lease(pool: Api) -> None:
    mine = taken(pool, "ann", 2, lease_seconds=5)
    before = {entry["item"]: entry for entry in pool.get("/projects/p/leases").json()["leases"]}
    renewed = pool.post("/leases/renew", {"project": "p", "annotator": "ann", "lease_seconds": 900}).json()
    assert sorted(entry["item"] for entry in renewed["leases"]) == sorted(mine)
    assert renewed["expired"] == []
    after = {entry["item"]: entry for entry in pool.get("/projects/p/leases").json()["leases"]}
    for item in mine:
        gained = datetime.fromisoformat(after[item]["lease_until"]) - datetime.fromisoformat(
            before[item]["lease_until"]
        )
        assert 890 < gained.total_seconds() < 900
        assert after[item]["since"] == before[item]["since"]
    by_default = pool.post("/leases/renew", {"project": "p", "annotator": "ann", "items": mine[:1]}).json()
    until = datetime.fromisoformat(by_default["leases"][0]["lease_until"])
    assert 595 < (until - datetime.now(until.tzinfo)).total_seconds() <= 600
    assert lease(pool, "renew", "ben", items=mine)["leases"] == []
    assert sorted(map(str, lease(pool, "renew", "ben", items=mine)["expired"])) == sorted(mine)


def test_an_expired_lease_is_renewed_only_while_nobody_else_has_the_item(pool: Api, sessions: Sessions) -> None:
    first, second, third = taken(pool, "ann", 3, lease_seconds=1)
    time.sleep(1.05)
    assert held(pool) == {}
    others = [f"item-{k}" for k in range(ITEMS) if f"item-{k}" != second]
    assert taken(pool, "ben", 1, exclude=others) == [second]
    assert pool.label(third).status_code == 201
    assert lease(pool, "renew", "ann") == {"leases": [], "expired": []}  # without names: what is held now
    answer = lease(pool, "renew", "ann", items=[first, second, third])
    assert [entry["item"] for entry in answer["leases"]] == [first]
    assert set(map(str, answer["expired"])) == {second, third}
    assert held(pool) == {first: "ann", second: "ben"}
    with sessions.begin() as session:  # the gap stays visible
        rows = session.scalars(
            sa.select(Suggestion)
            .where(Suggestion.annotator == "ann", Suggestion.item_position == int(first[5:]))
            .order_by(Suggestion.id)
        ).all()
    assert len(rows) == 2
    assert rows[0].lease_until < rows[1].created_at < rows[1].lease_until  # type: ignore[operator]
    # What was given back is not taken up again.
    lease(pool, "release", "ann")
    assert lease(pool, "renew", "ann", items=[first])["expired"] == [first]


def test_a_label_ends_a_lease_and_a_peek_holds_nothing(pool: Api) -> None:
    (mine,) = taken(pool, "ann", 1)
    pool.label(mine)
    assert held(pool) == {}
    assert lease(pool, "renew", "ann", items=[mine])["expired"] == [mine]
    assert len(taken(pool, "ann", 5, lease_seconds=0)) == 5
    assert len(taken(pool, None, 5)) == 5
    assert held(pool) == {}


def test_a_peek_leaves_leases_as_they_are(pool: Api) -> None:
    mine = taken(pool, "ann", 2)
    assert set(taken(pool, "ann", ITEMS, lease_seconds=0)) >= set(mine)
    assert held(pool) == dict.fromkeys(mine, "ann")


def test_pages_and_refusals(pool: Api) -> None:
    mine = taken(pool, "ann", 3)
    theirs = taken(pool, "ben", 2)
    in_order = sorted(mine + theirs, key=lambda item: int(item[5:]))
    page = pool.get("/projects/p/leases", limit=2).json()
    assert [entry["item"] for entry in page["leases"]] == in_order[:2]
    page = pool.get("/projects/p/leases", limit=100, after=page["next"]).json()
    assert [entry["item"] for entry in page["leases"]] == in_order[2:]
    assert page["next"] is None
    assert set(held(pool, annotator="ben")) == set(theirs)
    body = {"project": "p", "annotator": "ann"}
    assert_problem(pool.post("/leases/renew", body | {"items": ["item-0", "nowhere"]}), 404, "unknown_item", "nowhere")
    assert_problem(pool.post("/leases/renew", body | {"lease_seconds": 0}), 422, "invalid_request")
    assert_problem(pool.post("/leases/release", {"project": "p"}), 422, "invalid_request", "annotator")
    assert_problem(pool.post("/leases/release", body | {"project": "none"}), 404, "unknown_project")
    pool.project("short", defaults={"lease_seconds": 0})
    assert_problem(
        pool.post("/leases/renew", {"project": "short", "annotator": "ann"}), 422, "invalid_request", "lease_seconds"
    )


def test_no_item_is_ever_held_twice(api: Api, new_context: Callable[[], Context], sessions: Sessions) -> None:
    """Eight annotators, one of them asking twice at once, and two workers; short leases, so that they expire too."""
    api.project(defaults={"strategy": "random"})
    api.pool(items=24)
    over = threading.Event()
    failures: list[str] = []

    def annotate_till_done(number: int) -> None:
        try:
            annotate(api, number)
        except AssertionError as error:
            failures.append(str(error))

    workers = [threading.Thread(target=work, args=(new_context(), over)) for _ in range(2)]
    annotators = [threading.Thread(target=annotate_till_done, args=(number,)) for number in range(9)]
    for thread in workers + annotators:
        thread.start()
    for thread in annotators:
        thread.join(60)
    over.set()
    for thread in workers:
        thread.join(10)
    assert not failures
    assert_never_twice(sessions)


def work(context: Context, over: threading.Event) -> None:
    while not over.is_set():
        if not run_queued(context):
            over.wait(0.002)


def annotate(api: Api, number: int) -> None:
    name = f"annotator-{min(number, 7)}"
    for turn in range(6):
        items = taken(api, name, 3, lease_seconds=1 if turn % 2 else 60)
        if items and turn % 3 == 0:
            lease(api, "release", name, items=items[:1])
        elif items and turn % 3 == 1:
            lease(api, "renew", name, items=items, lease_seconds=2)
        elif items and number % 2:
            api.label(items[0], annotator=name)
            api.label(items[0], None, annotator=name)


def assert_never_twice(sessions: Sessions) -> None:
    """By their rows, no two leases of one item overlap; and there were leases enough for that to mean something."""
    with sessions.begin() as session:
        resolved_at = sa.select(LabelEvent.created_at).where(
            LabelEvent.project_id == Suggestion.project_id, LabelEvent.seq == Suggestion.resolved_seq
        )
        rows = session.execute(
            sa.select(
                Suggestion.item_position,
                Suggestion.created_at,
                sa.func.least(Suggestion.lease_until, Suggestion.released_at, resolved_at.scalar_subquery()),
            ).where(Suggestion.lease_until.is_not(None))
        ).all()
    by_item = defaultdict(list)
    for item, start, end in rows:
        by_item[item].append((start, end))
    for item, spans in by_item.items():
        spans.sort()
        for (_, end), (start, _) in pairwise(spans):
            assert end <= start, (item, spans)
    assert len(rows) > 50
    assert max(map(len, by_item.values())) > 1
