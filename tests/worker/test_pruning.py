"""What is old goes, in batches; labels, leases and what jobs still need stay. Artifacts go once nothing needs them."""

import io
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from store import jobs, pruning, references
from store.database import Sessions
from store.tables import FactorRow, IdempotencyKey, Job, LabelEvent, Suggestion
from tests.api import Api, assert_problem, npz, vectors
from tests.worker.conftest import run_queued
from worker import tidying
from worker.context import Context

KEEP = timedelta(days=30)


@pytest.fixture
def old(api: Api, working: Context, sessions: Sessions) -> Api:
    """Eight suggest jobs of forty days ago: a peek, a lease that lasts, six that are over; labels, and a young job."""
    api.project(defaults={"strategy": "random"})
    api.pool(items=30)
    whose: list[tuple[int, dict[str, Any]]] = [
        (2, {}),
        (1, {"annotator": "ann", "lease_seconds": 604_800, "exclude": ["item-29"]}),
    ]
    for count, more in whose + [(1, {"annotator": "ben", "lease_seconds": 1})] * 6:
        assert api.suggest(count=count, **more).status_code == 200
    api.label("item-29")
    with sessions.begin() as session:
        for column in (Job.created_at, Job.finished_at, Suggestion.created_at, LabelEvent.created_at):
            session.execute(sa.update(column.class_).values({column: column - timedelta(days=40)}))
        ended = sa.update(Suggestion).where(Suggestion.annotator == "ben")
        session.execute(ended.values(lease_until=Suggestion.lease_until - timedelta(days=40)))
        for key, age in (("young", 23), ("old", 25)):
            made = sa.func.now() - timedelta(hours=age)
            session.add(IdempotencyKey(owner="", key=key, fingerprint="", created_at=made))
    assert api.suggest(count=1).status_code == 200
    return api


def counted(sessions: Sessions, table: type[Job] | type[Suggestion] | type[LabelEvent]) -> int:
    with sessions.begin() as session:
        return session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_what_is_old_goes_and_what_holds_stays(old: Api, sessions: Sessions, worker: Context) -> None:
    with sessions.begin() as session:
        assert pruning.prune(session, None) == pruning.Pruned(idempotency_keys=1)
    worker.keep_jobs = KEEP
    assert tidying.tidy(worker) == 8 + 7  # suggestions, jobs
    assert tidying.tidy(worker) == 0  # once an hour
    with sessions.begin() as session:
        assert [s.annotator for s in session.scalars(sa.select(Suggestion).order_by(Suggestion.id))] == ["ann", None]
        assert session.scalars(sa.select(IdempotencyKey.key)).all() == ["young"]
    assert counted(sessions, Job) == 2
    assert counted(sessions, LabelEvent) == 1
    assert len(old.get("/projects/p/leases").json()["leases"]) == 1


def test_unfinished_jobs_stay(api: Api, sessions: Sessions) -> None:
    api.project()
    with sessions.begin() as session:
        jobs.create(session, kind="prepare", project_id=1, queue="bulk", arguments={})
        session.execute(sa.update(Job).values(created_at=Job.created_at - timedelta(days=40)))
    with sessions.begin() as session:
        assert pruning.prune(session, KEEP) == pruning.Pruned()
    assert counted(sessions, Job) == 1


def test_batches_are_bounded_and_one_prunes_at_a_time(
    old: Api, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 3)
    with sessions.begin() as session, sessions.begin() as other:
        first = pruning.prune(session, KEEP)
        assert first is not None
        assert first.suggestions == 3
        assert first.more
        assert pruning.prune(other, KEEP) is None


def test_what_is_left_is_next_times(
    old: Api, sessions: Sessions, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    monkeypatch.setattr(tidying, "BATCHES_MAX", 2)
    worker.keep_jobs = KEEP
    rounds = 0
    while tidying.tidy(worker):
        rounds += 1
    assert rounds >= 2
    assert (counted(sessions, Job), counted(sessions, Suggestion)) == (2, 2)


def aged(context: Context) -> None:
    for path in Path(context.artifacts._root).rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 90_000,) * 2)


def test_orphans_are_collected_after_a_day_and_nothing_else(api: Api, worker: Context, sessions: Sessions) -> None:
    api.project()
    api.pool(items=40)
    for seed in range(3):
        api.mlp(seed=seed)
        run_queued(worker)
    fresh = worker.artifacts.put_file(io.BytesIO(b"about to be referred to"))
    assert pruning.collect(sessions, worker.artifacts, 86_400) == 0
    staged = Path(worker.artifacts._root) / ".staging" / "left"
    staged.write_bytes(b"half")
    aged(worker)
    # The window and outputs of the first state, and what nothing ever referred to.
    with sessions.begin() as session:
        needed = references.lasting(session) | references.kernels(session)
    assert pruning.collect(sessions, worker.artifacts, 86_400) >= 1
    assert not worker.artifacts.exists(fresh)
    assert not staged.exists()
    assert all(worker.artifacts.exists(name) for name in needed)
    assert api.label("item-1").status_code == 201
    again = Context(**{**worker.__dict__, "live": type(worker.live)(1 << 30)})
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(api.suggest(count=2).status_code))
    asking.start()
    while asking.is_alive():
        run_queued(again)
    assert found == [200]


def test_a_refused_upload_leaves_nothing(api: Api, worker: Context) -> None:
    api.project()
    api.pool(items=5)
    before = set(worker.artifacts.idle(-60))
    assert len(before) == 1
    assert_problem(api.upload(npz(x=vectors(7), ids=[f"item-{k}" for k in range(7)])), 409, "duplicate_id")  # type: ignore[arg-type]
    assert set(worker.artifacts.idle(-60)) == before


def test_the_same_bytes_refused_from_one_and_taken_from_another(api: Api, worker: Context, sessions: Sessions) -> None:
    """The refused upload waits for the one that is about to refer to the artifact, and then leaves it."""
    api.project()
    name = worker.artifacts.put_file(io.BytesIO(b"the same bytes"))
    removed: list[bool] = []
    refused = threading.Thread(target=lambda: removed.append(references.drop(sessions, worker.artifacts, name)))
    with sessions.begin() as session:
        references.hold(session, name)
        refused.start()
        refused.join(0.3)
        assert refused.is_alive()
        assert worker.artifacts.exists(name)
        session.execute(
            sa.text(
                "INSERT INTO pool_chunks (project_id, version, start, count, artifact, dtype)"
                " VALUES (1, 1, 0, 1, :name, 'f4')"
            ),
            {"name": name},
        )
    refused.join(10)
    assert removed == [False]
    assert worker.artifacts.exists(name)


def test_rows_that_a_withdrawal_overruled_go(api: Api, working: Context, sessions: Sessions) -> None:
    api.project()
    api.pool()
    prepared = api.mlp()["id"]
    while api.get(f"/jobs/{prepared}").json()["finished_at"] is None:
        time.sleep(0.01)
    for item in ("item-1", "item-2", "item-3"):
        api.label(item)
    assert api.suggest().status_code == 200
    api.label("item-1", None)
    before = api.suggest(seed=1).json()
    with sessions.begin() as session:
        rows = session.execute(sa.select(FactorRow.position, FactorRow.revision)).all()
    assert sorted(tuple(row) for row in rows) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    with sessions.begin() as session:
        pruned = pruning.prune(session, None)
    assert pruned is not None
    assert pruned.factor_rows == 2
    working.live.drop(1)
    after = api.suggest(seed=1).json()
    assert after["suggestions"][0]["item"] == before["suggestions"][0]["item"]
    assert after["suggestions"][0]["score"] == pytest.approx(before["suggestions"][0]["score"], rel=1e-9)
