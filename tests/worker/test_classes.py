"""Classes appended while a project is in use: the kernel model has them at once, the network when it is trained."""

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from api_schemas.strategies import OPTIONS
from store.architectures import LayoutError
from store.tables import Checkpoint, Project
from tests import factories
from tests.api import Api, assert_problem, names, npz
from tests.worker import trainings
from tests.worker.conftest import run_queued
from tests.worker.model import Reference
from worker import widening
from worker.context import Context
from worker.widening import open_with_classes

pytestmark = pytest.mark.usefixtures("quick")


def add(api: Api, *classes: str, name: str = "p") -> Any:
    answer = api.post(f"/projects/{name}/classes", {"classes": list(classes)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_classes_are_appended(api: Api) -> None:
    api.project(classes=["a", "b"])
    assert add(api, "c", "d")["classes"] == ["a", "b", "c", "d"]
    assert add(api, "e")["classes"] == ["a", "b", "c", "d", "e"] == api.get("/projects/p").json()["classes"]
    api.pool(5)
    assert api.label("item-0", "e").status_code == 201
    assert_problem(api.post("/projects/p/classes", {"classes": ["f", "b"]}), 409, "class_exists", "'b'")
    assert_problem(api.post("/projects/p/classes", {"classes": ["f", "f"]}), 422, "invalid_request", "'f'", "twice")
    assert_problem(api.post("/projects/p/classes", {"classes": []}), 422, "invalid_request")
    many = [f"class {k}" for k in range(9_996)]
    assert_problem(api.post("/projects/p/classes", {"classes": many}), 422, "too_many_classes", "10000", "5", "9996")
    assert_problem(api.post("/projects/q/classes", {"classes": ["f"]}), 404, "unknown_project")
    assert api.get("/projects/p").json()["classes"] == ["a", "b", "c", "d", "e"]
    assert len(add(api, *many[:-1])["classes"]) == 10_000


def project_id(context: Context) -> int:
    with context.sessions.begin() as session:
        return session.scalars(sa.select(Project.id)).one()


def test_the_live_model_takes_labels_of_a_new_class_at_once(api: Api, working: Context) -> None:
    model = Reference(api, items=60, dtype="float64", hidden=(12,))
    model.prepare()
    for index in range(8):
        model.label(index)
    model.check(1e-6)
    kernel = api.get("/projects/p").json()["kernel_state"]
    assert kernel["outputs"] == 3
    add(api, "class 3", "class 4")
    model.classes += ["class 3", "class 4"]
    model.outputs = torch.nn.functional.pad(model.outputs, (0, 2))
    model.check(1e-6)  # grown without a label
    for index, label in ((10, 3), (11, 4), (12, 3), (2, 4)):
        model.label(index, label)
    model.check(1e-6)
    model.withdraw(10)
    model.check(1e-6)
    assert api.get("/projects/p").json()["kernel_state"]["id"] == kernel["id"]
    working.live.drop(project_id(working))
    model.check(1e-6)  # loaded anew
    answer = api.suggest(count=5, strategy="mlmoc", per_class={"class 3": 0, "class 0": 1}).json()
    predicted = [entry["predicted"] for entry in answer["suggestions"]]
    assert "class 3" not in predicted
    assert predicted.count("class 0") <= 1


def test_the_networks_own_predictions_are_of_classes_that_it_knows(api: Api, working: Context) -> None:
    model = Reference(api, items=30, dtype="float64", hidden=(12,))
    with torch.no_grad():
        model.module[-1].bias -= 100  # type: ignore[index]
    model.prepare()
    before = api.get("/projects/p/predictions", items="item-0,item-1", source="network").json()["predictions"]
    add(api, "class 3")
    after = api.get("/projects/p/predictions", items="item-0,item-1", source="network").json()["predictions"]
    assert [entry["outputs"] for entry in after] == [[*entry["outputs"], 0.0] for entry in before]
    assert [entry["predicted"] for entry in after] == [entry["predicted"] for entry in before]
    # The kernel model fits outputs to one-hot targets: there 0 is more than -100.
    found = api.get("/projects/p/predictions", items="item-0", source="linearized").json()["predictions"]
    assert found[0]["predicted"] == "class 3"
    assert api.get("/projects/p").json()["kernel_state"]["changed_predictions"] == 0


ASKED: list[tuple[str, dict[str, Any]]] = [
    *((strategy, {}) for strategy in OPTIONS),
    *((strategy, {"reference": "network"}) for strategy in ("mlmoc", "emoc", "eer", "one_step")),
    ("dynamical", {"reference": "linearized", "batch": "top_k"}),
    ("egl", {"parameters": "all"}),
    ("npc", {"kernel": "last_layer"}),
    ("ntkcpl", {"features": "al"}),
    ("auto", {}),
]


def test_every_strategy_goes_on_with_more_classes_than_the_network_has(api: Api, worker: Context) -> None:
    trainings.add_project(api)
    trainings.label(api)
    trainings.trained(api, worker, loss_prediction=True)

    def suggested(strategy: str, options: dict[str, Any]) -> Any:
        job = api.suggest(count=2, strategy=strategy, options=options, seed=1, headers=trainings.NOW).json()
        run_queued(worker)
        return trainings.job_of(api, job["id"])

    assert suggested("dynamical", {})["status"] == "succeeded"  # its network is kept from before the classes came
    add(api, "d", "e")
    assert api.label("item-20", "d").status_code == 201
    for strategy, options in ASKED:
        job = suggested(strategy, options)
        assert job["status"] == "succeeded", (strategy, options, job["error"])
        picks = job["result"]["suggestions"]
        assert len({pick["item"] for pick in picks}) == 2, (strategy, options)


def test_a_network_that_cannot_grow_is_refused_where_it_is_needed(
    api: Api, working: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.project()
    api.pool(20)
    api.mlp()
    assert api.label("item-0").status_code == 201
    while api.get("/projects/p").json()["kernel_state"] is None:
        working.stopping.wait(0.02)
    add(api, "d")

    def rigid(*_: object) -> None:
        raise LayoutError("it has its three classes and no others")

    monkeypatch.setattr(widening, "build", rigid)
    for strategy, options in (("dynamical", {}), ("egl", {"parameters": "all"}), ("bald", {})):
        refused = api.suggest(strategy=strategy, options=options)
        assert_problem(refused, 409, "too_few_outputs", "3 outputs", "4 classes", "train or upload")
    assert api.suggest(strategy="mlmoc", options={"reference": "network"}).status_code == 200


@pytest.mark.parametrize("standardise", [True, False])
def test_a_widened_network_says_what_it_said_and_nothing_of_new_classes(
    api: Api, worker: Context, standardise: bool
) -> None:
    trainings.add_project(api)
    trainings.label(api)
    trainings.trained(api, worker, standardise=standardise)
    with worker.sessions.begin() as session:
        checkpoint = session.scalars(sa.select(Checkpoint)).one()
    x = torch.from_numpy(trainings.clusters())
    before, after = (open_with_classes(worker, checkpoint, classes)(x).detach() for classes in (3, 5))
    assert torch.allclose(after[:, :3], before, rtol=1e-4, atol=1e-3)
    assert torch.equal(after[:, 3:], torch.zeros(len(x), 2))


def test_training_after_classes_were_added(api: Api, worker: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings.add_project(api)
    trainings.label(api)
    trainings.trained(api, worker)
    before = trainings.network_outputs(api, worker)
    add(api, "d")
    assert "retrain_classes" in api.get("/projects/p").json()["advice_codes"]
    kept = trainings.trained(api, worker, warm_start=True, epochs=0)
    assert "from 0" in kept["trained"]["notes"][0]
    after = trainings.network_outputs(api, worker)
    assert torch.allclose(after, torch.nn.functional.pad(before, (0, 1)), atol=1e-6)
    found = api.get("/projects/p").json()
    assert found["kernel_state"]["outputs"] == 4
    assert "retrain_classes" not in found["advice_codes"]
    add(api, "e")
    assert api.label("item-20", "e").status_code == 201
    assert trainings.trained(api, worker, warm_start=True)["trained"]["labels"] == 7
    assert trainings.network_outputs(api, worker)[20].argmax() == 4
    add(api, "f")
    with monkeypatch.context() as patched:
        patched.setattr(widening, "build", lambda *_: (_ for _ in ()).throw(LayoutError("no")))
        cold = trainings.trained(api, worker, warm_start=True, epochs=1)
    assert "started from initial weights" in cold["trained"]["notes"][0]
    # Asked for before the class was there, run after its first label.
    job = trainings.start(api)
    add(api, "g")
    assert api.label("item-21", "g").status_code == 201
    run_queued(worker)
    assert trainings.job_of(api, job)["status"] == "succeeded"
    assert api.get("/projects/p").json()["kernel_state"]["outputs"] == 7


def test_classes_that_come_while_a_checkpoint_is_prepared(api: Api, worker: Context) -> None:
    api.project()
    api.upload(npz(x=np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32), ids=np.array(names(30))))
    job = api.mlp()
    add(api, "d")
    assert api.label("item-3", "d").status_code == 201
    run_queued(worker)
    assert api.get(f"/jobs/{job['id']}").json()["status"] == "succeeded"
    found = api.get("/projects/p").json()
    assert found["kernel_state"]["outputs"] == 3
    assert "retrain_classes" in found["advice_codes"]
    answer = api.checkpoint(factories.mlp(6, [16, 8], 3), options={"hidden": [16, 8], "classes": 3})
    assert_problem(answer, 422, "wrong_classes", "3 classes", "has 4")
