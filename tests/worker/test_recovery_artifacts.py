"""Artifacts that are lost or damaged: computed again where that is possible, named where it is not."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from ntk.kernel import Items, Ranges
from ntk.kernels import KernelEngine
from store.tables import Checkpoint, Job, KernelPanel, KernelState, PoolChunk
from tests.api import Api, Json, assert_problem, names, npz, vectors
from tests.worker import trainings
from tests.worker.conftest import run_queued
from tests.worker.trainings import job_of
from worker import prepare
from worker.context import Context
from worker.jobs import run_in

NOW = {"Prefer": "wait=0"}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first rows of the panels that are computed; panels have 8 rows."""
    panel, starts = KernelEngine._panel, list[int]()

    def counted(self: KernelEngine, x: Items, ranges: Ranges, start: int, *more: Any) -> torch.Tensor:
        starts.append(start)
        return panel(self, x, ranges, start, *more)

    monkeypatch.setattr(KernelEngine, "_panel", counted)
    monkeypatch.setattr(prepare, "PANEL_ROWS", 8)
    return starts


@pytest.fixture
def prepared(api: Api, worker: Context, computed: list[int]) -> Context:
    """A worker, and a project with some labels whose state nobody keeps warm."""
    api.project()
    api.pool(items=40)
    api.mlp()
    run_queued(worker)
    for item in ("item-3", "item-17"):
        api.label(item)
    suggested(api, worker)
    worker.live._states.clear()
    computed.clear()
    return worker


def suggested(api: Api, worker: Context, **body: Any) -> Json:
    """The job of a request for suggestions, run to its end by a worker that had nothing else to do."""
    job = api.suggest(headers=NOW, **{"count": 5, "seed": 1, "strategy": "mlmoc", **body}).json()
    run_in(worker, job["id"])
    return job_of(api, job["id"])


def one(worker: Context, query: sa.Select[Any]) -> Path:
    """The file of the artifact that a query names."""
    with worker.sessions.begin() as session:
        return worker.artifacts.path(session.scalars(query).one())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x40
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [Path.unlink, truncate, empty, flip])
def test_a_lost_panel_is_computed_again_and_nothing_else(
    api: Api, prepared: Context, computed: list[int], damage: Callable[[Path], None]
) -> None:
    before = suggested(api, prepared)["result"]
    prepared.live._states.clear()
    damage(one(prepared, sa.select(KernelPanel.artifact).where(KernelPanel.row_start == 16)))
    failed = suggested(api, prepared)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "not_prepared")
    repair = failed["error"]["job"]
    assert repair in failed["error"]["detail"]
    # A second request waits for the same job.
    assert suggested(api, prepared)["error"]["job"] == repair
    run_queued(prepared)
    done = job_of(api, repair)
    assert (done["status"], done["result"]["repaired"]) == ("succeeded", 1)
    assert computed == [16]
    after = suggested(api, prepared)["result"]
    assert (after["kernel"], after["label_seq"]) == (before["kernel"], before["label_seq"])
    assert [s["item"] for s in after["suggestions"]] == [s["item"] for s in before["suggestions"]]
    assert np.allclose([s["score"] for s in after["suggestions"]], [s["score"] for s in before["suggestions"]])


def test_who_waits_is_told_the_job_that_repairs(api: Api, prepared: Context, working: Context) -> None:
    one(prepared, sa.select(KernelPanel.artifact).where(KernelPanel.row_start == 0)).unlink()
    answer = api.suggest(strategy="mlmoc")
    problem = assert_problem(answer, 409, "not_prepared", "computed again")
    assert answer.headers["retry-after"] == "2"
    until(lambda: job_of(api, problem["job"])["status"] == "succeeded")
    assert api.suggest(strategy="mlmoc").status_code == 200


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lost_outputs_are_computed_again(api: Api, prepared: Context, computed: list[int]) -> None:
    flip(one(prepared, sa.select(KernelState.outputs)))
    failed = suggested(api, prepared)
    assert failed["error"]["code"] == "not_prepared"
    run_queued(prepared)
    assert computed == []
    assert suggested(api, prepared)["result"]["kernel"] == "kernel-1"


def test_a_lost_window_is_drawn_anew(api: Api, prepared: Context) -> None:
    one(prepared, sa.select(KernelState.window)).unlink()
    assert suggested(api, prepared)["error"]["code"] == "not_prepared"
    run_queued(prepared)
    done = suggested(api, prepared)["result"]
    assert (done["kernel"], done["label_seq"], done["candidates"]) == ("kernel-2", 2, 38)


def test_random_suggestions_go_on(api: Api, prepared: Context) -> None:
    one(prepared, sa.select(KernelPanel.artifact).where(KernelPanel.row_start == 0)).unlink()
    answer = suggested(api, prepared, strategy="random")["result"]
    assert (len(answer["suggestions"]), answer["kernel"]) == (5, None)
    with prepared.sessions.begin() as session:
        kinds = list(session.scalars(sa.select(Job.kind).where(Job.status == "queued")))
    assert kinds == ["prepare"]
    # Quotas look at the model.
    assert suggested(api, prepared, strategy="random", per_class=1)["error"]["code"] == "not_prepared"


def test_predictions_are_repaired_alike(api: Api, prepared: Context) -> None:
    one(prepared, sa.select(KernelPanel.artifact).where(KernelPanel.row_start == 0)).unlink()
    asked = api.client.get("/projects/p/predictions", params={"items": "item-1"}, headers=NOW).json()
    run_queued(prepared)
    assert job_of(api, asked["id"])["error"]["code"] == "not_prepared"
    run_queued(prepared)
    asked = api.client.get("/projects/p/predictions", params={"items": "item-1"}, headers=NOW).json()
    run_queued(prepared)
    assert job_of(api, asked["id"])["status"] == "succeeded"


@pytest.mark.parametrize("damage", [Path.unlink, truncate])
def test_lost_weights_are_named_and_bring_everything_back_when_sent_again(
    api: Api, prepared: Context, damage: Callable[[Path], None]
) -> None:
    path = one(prepared, sa.select(Checkpoint.weights))
    damage(path)
    name = api.get("/projects/p").json()["checkpoint"]
    error = suggested(api, prepared)["error"]
    assert error["code"] == "artifact_lost"
    assert f"the weights of checkpoint {name} are" in error["detail"]
    assert "POST /projects/p/checkpoints" in error["detail"]
    assert suggested(api, prepared, strategy="random")["status"] == "succeeded"
    api.mlp()
    assert suggested(api, prepared)["status"] == "succeeded"


def test_what_was_made_of_weights_is_made_again_when_they_are_sent_again(api: Api, prepared: Context) -> None:
    # As after the conversion of an archive: the row names other bytes than those that were sent.
    with prepared.sessions.begin() as session:
        session.execute(sa.update(Checkpoint).values(weights="0" * 64))
    assert suggested(api, prepared)["error"]["code"] == "artifact_lost"
    api.mlp()
    assert suggested(api, prepared)["status"] == "succeeded"


@pytest.mark.parametrize("with_ids", [True, False])
def test_lost_inputs_are_named_and_can_be_sent_again(api: Api, worker: Context, with_ids: bool) -> None:
    api.project()
    api.pool(items=12)
    x = vectors(5, seed=7)
    late = npz(x=x, ids=np.array(names(5, "late-"))) if with_ids else npz(x=x)
    assert api.upload(late).status_code == 201
    path = one(worker, sa.select(PoolChunk.artifact).where(PoolChunk.version == 2))
    path.unlink()
    job_id = api.mlp()["id"]
    run_queued(worker)
    error = job_of(api, job_id)["error"]
    assert error["code"] == "artifact_lost"
    first, last = ("late-0", "late-4") if with_ids else ("12", "16")
    assert f"the 5 items from '{first}' to '{last}', which came with upload 2 of the pool" in error["detail"]
    assert "POST /projects/p/pool" in error["detail"]
    again = api.upload(late)
    assert again.status_code == 201
    assert (again.json()["added"], again.json()["items"]) == (0, 17)
    job_id = api.mlp()["id"]
    run_queued(worker)
    assert job_of(api, job_id)["result"]["window"] == 17
    # What is there is not sent again: it is refused, or more items, as ever.
    if with_ids:
        assert_problem(api.upload(late), 409, "duplicate_id")
    else:
        assert api.upload(late).json()["added"] == 5


def test_a_panel_whose_inputs_are_lost_too_is_told_at_once(api: Api, prepared: Context) -> None:
    one(prepared, sa.select(KernelPanel.artifact).where(KernelPanel.row_start == 0)).unlink()
    one(prepared, sa.select(PoolChunk.artifact)).unlink()
    assert suggested(api, prepared)["error"]["code"] == "artifact_lost"
    with prepared.sessions.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).where(Job.status == "queued")) == 0
    assert api.upload(npz(x=vectors(40), ids=np.array(names(40)))).json()["added"] == 0
    assert suggested(api, prepared)["error"]["code"] == "not_prepared"
    run_queued(prepared)
    assert suggested(api, prepared)["status"] == "succeeded"


def test_a_training_whose_weights_were_lost_before_it_was_prepared_trains_again(
    api: Api, worker: Context, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings.add_project(api)
    trainings.label(api)
    job_id = trainings.start(api)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.train.prepare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in(worker, job_id)
    monkeypatch.undo()
    monkeypatch.setattr("worker.training.fit.STEPS_MIN", 1)
    one(worker, sa.select(Checkpoint.weights)).unlink()
    with worker.sessions.begin() as session:
        session.execute(sa.update(Job).values(status="queued"))
    run_queued(worker)
    done = job_of(api, job_id)
    assert (done["status"], done["attempt"]) == ("succeeded", 2)
    assert done["result"]["trained"]["labels"] == len(trainings.LABELED)
