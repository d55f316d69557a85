"""The learning curve, the advice that rests on it, and labels by the thousand."""

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from ntk.posterior import LABELS_PER_UPDATE, Posterior
from store import jobs
from store.tables import KernelState, Project
from tests import factories
from tests.api import Api, Json, assert_problem, names, npz
from tests.worker import trainings
from tests.worker.conftest import run_queued
from tests.worker.model import Reference
from worker import progress
from worker.catch_up import synchronised
from worker.context import Context

pytestmark = pytest.mark.usefixtures("quick")


def points(api: Api, **query: int) -> list[Json]:
    answer = api.get("/projects/p/curve", **query)
    assert answer.status_code == 200, answer.text
    found: list[Json] = answer.json()["points"]
    return found


def test_a_point_for_each_catch_up(api: Api, working: Context) -> None:
    model = Reference(api, items=60, dtype="float64", hidden=(12,))
    model.label(0)
    model.label(1)
    model.prepare()
    seen = [model.predictions().argmax(dim=1)]
    candidates = [set(model.candidates)]
    accuracies = [api.get("/projects/p").json()["leave_one_out_accuracy"]]
    first = points(api)[0]
    assert (first["label_seq"], first["labels"], first["flipped"]) == (2, 2, None)
    for step in ([5], [7, 9], [11]):
        for index in step:
            model.label(index)
        seen.append(model.predictions().argmax(dim=1))
        candidates.append(set(model.candidates))
        accuracies.append(api.get("/projects/p").json()["leave_one_out_accuracy"])
    found = points(api)
    assert [point["label_seq"] for point in found] == [2, 3, 5, 6]
    assert [point["labels"] for point in found] == [2, 3, 5, 6]
    assert [point["leave_one_out_accuracy"] for point in found] == accuracies
    network = model.outputs.argmax(dim=1)
    for k, point in enumerate(found):
        remaining = sorted(candidates[k])
        share = (seen[k] != network)[remaining].double().mean()
        assert point["changed_predictions"] == pytest.approx(float(share))
        if k:
            flipped = (seen[k] != seen[k - 1])[remaining].double().mean()
            assert point["flipped"] == pytest.approx(float(flipped))
    assert any(point["flipped"] > 0 for point in found[1:])
    assert {point["kernel"] for point in found} == {"kernel-1"}
    # Nothing moved, nothing is added; a second state begins a curve of its own at the same label.
    api.suggest(strategy="random")
    assert len(points(api)) == 4
    model.prepare()
    found = points(api)
    assert [(point["label_seq"], point["kernel"]) for point in found[-2:]] == [(6, "kernel-1"), (6, "kernel-2")]
    page = api.get("/projects/p/curve", limit=4).json()
    assert [point["label_seq"] for point in page["points"]] == [2, 3, 5, 6, 6]
    assert page["next"] == 6
    assert api.get("/projects/p/curve", after_seq=6).json() == {"points": [], "next": None}
    assert [point["label_seq"] for point in points(api, after_seq=2, limit=1)] == [3]
    assert_problem(api.get("/projects/q/curve"), 404, "unknown_project")


def blobs(items: int, seed: int) -> "np.typing.NDArray[np.float32]":
    """Item k is of class k mod 3, and looks like it."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(items, 6)) * 0.3 + 3 * np.eye(3, 6)[np.arange(items) % 3]
    return x.astype(np.float32)


def prepared(api: Api, context: Context, items: int, **defaults: float) -> None:
    api.project(defaults=defaults)
    assert api.upload(npz(x=blobs(items, 0), ids=np.array(names(items)))).status_code == 201
    api.mlp()
    run_queued(context)


def worker_projects(context: Context) -> list[int]:
    with context.sessions.begin() as session:
        return list(session.scalars(sa.select(Project.id)))


def labeled(api: Api, context: Context, at: list[int], classes: list[str]) -> Json:
    """Label one by one, each taken in by itself; the project then."""
    (project,) = worker_projects(context)
    for k, name in zip(at, classes, strict=True):
        assert api.label(f"item-{k}", name).status_code == 201
        with synchronised(context, project):
            pass
    found: Json = api.get("/projects/p").json()
    return found


def test_advice_to_stop_comes_when_labels_change_nothing_and_goes_when_they_do(api: Api, worker: Context) -> None:
    prepared(api, worker, 150)
    truth = ["abc"[k % 3] for k in range(150)]
    found = labeled(api, worker, list(range(12)), truth[:12])
    assert found["stopping"] is None  # too few labels to tell
    assert "stop" not in found["advice_codes"]
    found = labeled(api, worker, list(range(12, 45)), truth[12:45])
    assert found["stopping"]["labels"] == 20
    assert found["stopping"]["changed_per_label"] == 0
    assert found["stopping"]["advised"]
    place = found["advice_codes"].index("stop")
    assert found["advice"][place].startswith("Stop")
    # Labels that contradict what was known move predictions again.
    found = labeled(api, worker, list(range(45, 75)), ["abc"[(k + k // 3) % 3] for k in range(45, 75)])
    assert found["stopping"]["changed_per_label"] > found["stopping"]["stop_below"]
    assert "stop" not in found["advice_codes"]


def test_no_advice_to_stop_while_a_class_has_no_label_or_where_none_is_wanted(api: Api, worker: Context) -> None:
    prepared(api, worker, 120, stop_below=0.0)
    truth = ["abc"[k % 3] for k in range(120)]
    found = labeled(api, worker, list(range(45)), truth[:45])
    assert found["stopping"]["changed_per_label"] == 0
    assert not found["stopping"]["advised"]
    with worker.sessions.begin() as session:
        session.execute(sa.text("UPDATE projects SET defaults = defaults || '{\"stop_below\": 0.0005}'"))
    assert "stop" in api.get("/projects/p").json()["advice_codes"]
    api.post("/projects/p/classes", {"classes": ["d"]})
    assert "stop" not in api.get("/projects/p").json()["advice_codes"]


def test_advice_to_retrain_after_so_many_labels(api: Api, worker: Context) -> None:
    api.project(defaults={"retrain_after": 5})
    assert api.upload(npz(x=trainings.clusters(), ids=np.array(names(trainings.ITEMS)))).status_code == 201
    trainings.label(api, order=[0, 1])
    assert api.get("/projects/p").json()["labels_since_checkpoint"] is None
    api.mlp()
    run_queued(worker)
    trainings.label(api, order=[2, 7, 8, 9])
    found = api.get("/projects/p").json()
    assert found["labels_since_checkpoint"] == 4
    assert "retrain_labels" not in found["advice_codes"]
    trainings.label(api, order=[10])
    found = api.get("/projects/p").json()
    assert "retrain_labels" in found["advice_codes"]
    assert "Retrain: 5 labels came" in " ".join(found["advice"])
    trainings.trained(api, worker)
    found = api.get("/projects/p").json()
    assert found["labels_since_checkpoint"] == 0
    assert "retrain_labels" not in found["advice_codes"]
    api.project("q", defaults={"retrain_after": 0})
    api.pool(name="q")
    api.mlp("q")
    for k in range(9):
        api.label(f"item-{k}", "a", "q")
    assert "retrain_labels" not in api.get("/projects/q").json()["advice_codes"]


def bulk(api: Api, count: int, start: int = 0) -> None:
    entries = [{"item": f"item-{k}", "label": "abc"[k % 3]} for k in range(start, start + count)]
    assert api.post("/labels", {"project": "p", "labels": entries}).status_code == 201


def test_labels_by_the_thousand_are_refused_before_they_take_the_memory(api: Api, worker: Context) -> None:
    api.project(kernel={"window": 40})
    assert api.upload(npz(x=blobs(900, 0), ids=np.array(names(900)))).status_code == 201
    api.mlp()
    run_queued(worker)
    assert trainings.suggested(api, worker, "mlmoc")
    worker.live.max_bytes, worker.kernel_bytes = 2 << 20, 4 << 20
    bulk(api, 850)
    job = trainings.ended(api, worker, api.suggest(strategy="mlmoc", headers=trainings.NOW))
    assert (job["status"], job["error"]["code"]) == ("failed", "too_large")
    assert "850 labels" in job["error"]["detail"]
    assert "worker allows 6 MiB" in job["error"]["detail"]
    fits = int(job["error"]["detail"].split(" labels fit")[0].split(" ")[-1])
    assert 200 < fits < 850
    # Prepared anew it is refused as well, and what is loaded from Postgres.
    refused = api.mlp()
    run_queued(worker)
    assert api.get(f"/jobs/{refused['id']}").json()["error"]["code"] == "too_large"
    worker.live.max_bytes = 1 << 30
    assert trainings.suggested(api, worker, "margin", count=1)
    worker.live.max_bytes = 2 << 20
    (project,) = worker_projects(worker)
    worker.live.drop(project)
    job = trainings.ended(api, worker, api.suggest(strategy="margin", headers=trainings.NOW))
    assert job["error"]["code"] == "too_large"


def test_what_is_said_to_fit_fits(api: Api, worker: Context) -> None:
    api.project(kernel={"window": 40})
    assert api.upload(npz(x=blobs(900, 0), ids=np.array(names(900)))).status_code == 201
    api.mlp()
    run_queued(worker)
    worker.live.max_bytes, worker.kernel_bytes = 2 << 20, 4 << 20
    bulk(api, 300)
    assert trainings.suggested(api, worker, "margin")
    with worker.sessions.begin() as session:
        assert session.scalars(sa.select(KernelState.labeled_count)).one() == 300


def test_a_long_catch_up_reports_and_can_be_cancelled(
    api: Api, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(api, worker, 900)
    monkeypatch.setattr(progress, "_WRITE_SECONDS", 0.0)
    bulk(api, 850)
    asked = api.suggest(strategy="mlmoc", headers=trainings.NOW).json()["id"]
    seen: list[Json] = []
    append = Posterior._append

    def watched(self: Posterior, before: torch.Tensor, new: torch.Tensor) -> list[torch.Tensor]:
        seen.append(api.get(f"/jobs/{asked}").json())
        if len(seen) == 3:
            with worker.sessions.begin() as session:
                jobs.request_cancel(session, asked)
        return append(self, before, new)

    monkeypatch.setattr(Posterior, "_append", watched)
    run_queued(worker)
    assert [job["progress"]["done"] for job in seen] == [0, LABELS_PER_UPDATE, 2 * LABELS_PER_UPDATE]
    assert seen[1]["stage"] == "catching up"
    assert seen[1]["progress"] == {"done": LABELS_PER_UPDATE, "total": 850, "unit": "labels"}
    assert api.get(f"/jobs/{asked}").json()["status"] == "cancelled"
    # Nothing was kept of it: the next request takes all labels in.
    monkeypatch.setattr(Posterior, "_append", append)
    assert trainings.suggested(api, worker, "mlmoc")
    assert points(api)[-1]["labels"] == 850


def test_condition_and_jitter_of_the_kernel_state(api: Api, worker: Context) -> None:
    api.project(kernel={"ridge": 1e-10, "dtype": "float64"})
    x = np.repeat(np.random.default_rng(0).normal(size=(10, 6)), 6, axis=0)
    assert api.upload(npz(x=x, ids=np.array(names(60)))).status_code == 201
    for k in range(24):
        assert api.label(f"item-{k}", "abc"[k // 6 % 3]).status_code == 201
    answer = api.checkpoint(factories.mlp(6, [16, 8], 3), options={"hidden": [16, 8]})
    run_queued(worker)
    assert api.get(f"/jobs/{answer.json()['id']}").json()["status"] == "succeeded"
    kernel = api.get("/projects/p").json()["kernel_state"]
    assert kernel["condition"] > 1e9
    with worker.sessions.begin() as session:
        # As if the factor had needed it: rows that are appended later must have it too.
        session.execute(sa.text("DELETE FROM factor_rows"))
        session.execute(sa.text("UPDATE kernel_states SET jitter = ridge * 1e6, labeled_count = 0, applied_seq = 0"))
    trainings.suggested(api, worker, "mlmoc")
    live = next(iter(worker.live._states.values())).posterior
    state = api.get("/projects/p").json()["kernel_state"]
    assert state["jitter"] > 0
    effective = state["ridge"] + state["jitter"]
    assert live.ridge == pytest.approx(effective, rel=1e-12)
    A = live.gram[live.labeled][:, live.labeled] + effective * torch.eye(24, dtype=torch.float64)
    L = live.factor.dense()
    assert torch.allclose(L @ L.mT, A, rtol=1e-10)
