"""Jobs through every way they can end, and what survives a worker or a queue that is lost."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
import torch

from store.errors import ArtifactMissingError
from store.tables import Job, KernelPanel
from tests.api import Api, assert_problem
from tests.worker.conftest import run_queued
from worker import prepare
from worker.checkpoints import build
from worker.context import Context
from worker.jobs import run_in
from worker.progress import Reporter


@pytest.fixture
def waiting(api: Api) -> str:
    """A project whose checkpoint waits to be prepared; the job's id."""
    api.project()
    api.pool(items=40)
    job_id: str = api.mlp()["id"]
    return job_id


def job_of(api: Api, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/jobs/{job_id}").json()
    return found


@pytest.fixture
def small_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "PANEL_ROWS", 8)


def test_prepare_reports_and_activates(api: Api, waiting: str, worker: Context, small_panels: None) -> None:
    queued = job_of(api, waiting)
    assert (queued["status"], queued["queue_position"], queued["kind"]) == ("queued", 0, "prepare")
    assert api.get("/projects/p").json()["preparing"] == waiting
    run_queued(worker)
    done = job_of(api, waiting)
    assert done["status"] == "succeeded"
    assert done["progress"]["done"] == done["progress"]["total"] > 0
    assert done["result"]["window"] == 40
    project = api.get("/projects/p").json()
    assert project["checkpoint"] == done["result"]["checkpoint"]
    assert project["kernel_state"]["id"] == done["result"]["kernel"]
    assert project["preparing"] is None
    run_in(worker, waiting)
    assert job_of(api, waiting)["attempt"] == 1


def test_cancel_before_and_while_running(
    api: Api, waiting: str, worker: Context, small_panels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = api.post(f"/jobs/{waiting}/cancel")
    assert cancelled.status_code == 202
    assert cancelled.json()["status"] == "cancelled"
    assert run_queued(worker) == 0
    assert_problem(api.post(f"/jobs/{waiting}/cancel"), 409, "job_finished")

    job_id = api.mlp(seed=1)["id"]
    monkeypatch.setattr("worker.progress._WRITE_SECONDS", 0.0)
    advance = Reporter.advance

    def cancel_then_advance(self: Reporter, units: int = 1) -> None:
        assert api.post(f"/jobs/{job_id}/cancel").json()["status"] == "running"
        advance(self, units)

    monkeypatch.setattr(Reporter, "advance", cancel_then_advance)
    run_queued(worker)
    assert job_of(api, job_id)["status"] == "cancelled"
    assert api.get("/projects/p").json()["kernel_state"] is None


def test_shutting_down_puts_the_job_back(api: Api, waiting: str, new_context: Callable[[], Context]) -> None:
    stopping = new_context()
    stopping.stopping.set()
    run_in(stopping, waiting)
    back = job_of(api, waiting)
    assert (back["status"], back["attempt"]) == ("queued", 0)
    run_queued(new_context())
    assert job_of(api, waiting)["status"] == "succeeded"


def test_a_failure_is_told_and_is_not_the_clients_fault(
    api: Api, waiting: str, working: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    _until(lambda: job_of(api, waiting)["status"] == "succeeded")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("worker.suggest.picked", fail)
    problem = assert_problem(api.suggest(), 500, "internal_error")
    assert "boom" not in problem["detail"]
    assert job_of(api, problem["job"])["status"] == "failed"
    monkeypatch.undo()
    assert api.suggest().status_code == 200


def _until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_not_prepared_names_the_job_and_an_empty_pool_can_wait(api: Api, worker: Context) -> None:
    api.project()
    answer = api.checkpoint(_module(), options={"in_features": 6, "hidden": [16, 8]})
    assert answer.status_code == 202
    run_queued(worker)
    assert job_of(api, answer.json()["id"])["result"]["window"] == 0
    added = api.pool(items=12)
    assert added["job"] is not None
    problem = assert_problem(api.suggest(), 409, "not_prepared", added["job"])
    assert problem["job"] == added["job"]
    run_queued(worker)
    assert api.get("/projects/p").json()["kernel_state"]["window"] == 12


def _module() -> torch.nn.Module:
    from tests import factories

    return factories.mlp(6, [16, 8], 3)


def test_more_items_make_a_larger_window(api: Api, waiting: str, worker: Context) -> None:
    run_queued(worker)
    api.label("item-3")
    added = api.pool(items=5, seed=9, prefix="late-")
    assert added == {"added": 5, "items": 45, "input_shape": [6], "pool_version": 2, "job": added["job"]}
    # A label for an item that no prepared window knows yet is taken all the same.
    api.label("late-1")
    first = api.suggest(headers={"Prefer": "wait=0"})
    with worker.sessions.begin() as session:
        session.execute(sa.update(Job).where(Job.id == added["job"]).values(status="running", worker="other"))
    run_queued(worker)
    answer = job_of(api, first.json()["id"])["result"]
    assert (answer["label_seq"], answer["candidates"], answer["kernel"]) == (2, 39, "kernel-1")
    with worker.sessions.begin() as session:
        session.execute(sa.update(Job).where(Job.id == added["job"]).values(status="queued"))
    run_queued(worker)
    state = api.get("/projects/p").json()["kernel_state"]
    assert (state["id"], state["window"], state["labeled"]) == ("kernel-2", 45, 2)
    api.suggest(headers={"Prefer": "wait=0"})
    assert list(worker.live._states) == [1]
    run_queued(worker)
    assert list(worker.live._states) == [2]


def test_what_no_state_needs_any_more_is_removed(api: Api, waiting: str, worker: Context, small_panels: None) -> None:
    def panels() -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        with worker.sessions.begin() as session:
            for panel in session.scalars(sa.select(KernelPanel)):
                found.setdefault(panel.state_id, []).append(panel.artifact)
        return found

    run_queued(worker)
    first = panels()[1]
    for seed in (1, 2, 2):
        api.mlp(seed=seed)
        run_queued(worker)
    # The active state and the one before it are kept. They have the same panels, and lost none.
    assert panels().keys() == {3, 4}
    for artifact in panels()[4]:
        worker.artifacts.path(artifact)
    for artifact in first:
        with pytest.raises(ArtifactMissingError):
            worker.artifacts.path(artifact)
    worker.live._states.clear()
    job = api.suggest(headers={"Prefer": "wait=0"}).json()
    run_queued(worker)
    assert job_of(api, job["id"])["status"] == "succeeded"


def test_a_dead_network_is_told(api: Api, worker: Context) -> None:
    api.project()
    api.pool()
    module = _module()
    for parameter in module.parameters():
        parameter.data.zero_()
    module[5].weight.data.zero_()  # type: ignore[index]
    job_id = api.checkpoint(module, options={"hidden": [16, 8]}).json()["id"]
    run_queued(worker)
    # Its last bias still moves the outputs: a constant kernel is a poor one and no failure.
    assert job_of(api, job_id)["status"] == "succeeded"


def test_a_used_up_window_is_drawn_anew(api: Api, worker: Context) -> None:
    api.project(kernel={"window": 6})
    api.pool(items=20)
    api.mlp()
    run_queued(worker)

    def suggested() -> list[str]:
        job = api.suggest(headers={"Prefer": "wait=0"}, count=10).json()
        run_queued(worker)
        return [s["item"] for s in job_of(api, job["id"])["result"]["suggestions"]]

    seen: set[str] = set()
    for _ in range(12):
        for item in suggested():
            assert item not in seen
            seen.add(item)
            assert api.label(item).status_code == 201
        run_queued(worker)
    assert len(seen) == 20
    job = api.suggest(headers={"Prefer": "wait=0"}).json()
    run_queued(worker)
    answer = job_of(api, job["id"])["result"]
    assert (answer["suggestions"], answer["reason"]) == ([], "pool_exhausted")


def test_a_cnn_from_upload_to_suggestion(api: Api, working: Context) -> None:
    import numpy as np

    from tests.api import npz

    api.project(classes=["a", "b", "c", "d"])
    x = np.random.default_rng(0).normal(size=(30, 1, 20, 24)).astype(np.float32)
    assert api.upload(npz(x=x)).json()["input_shape"] == [1, 20, 24]
    module = build("cnn", {"input_shape": [1, 20, 24], "classes": 4})
    answer = api.checkpoint(module, architecture="cnn")
    assert answer.status_code == 202, answer.text
    _until(lambda: job_of(api, answer.json()["id"])["status"] == "succeeded")
    found = api.suggest(count=3).json()
    assert len({s["item"] for s in found["suggestions"]}) == 3
    outputs = api.get("/projects/p/predictions", items="0,29", source="network").json()["predictions"]
    expected = module(torch.from_numpy(x[[0, 29]]))
    assert torch.allclose(torch.tensor([row["outputs"] for row in outputs]), expected, atol=1e-5)
