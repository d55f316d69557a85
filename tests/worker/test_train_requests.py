"""What a training is asked for: warm starts, the architecture that is chosen, and every refusal."""

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from store import jobs
from store.tables import Job
from tests.api import Api, Json, assert_problem
from tests.worker.conftest import run_queued
from tests.worker.trainings import (
    accuracy_on_the_rest,
    add_project,
    checkpoints,
    label,
    network_outputs,
    start,
    suggested,
    trained,
)
from worker.context import Context

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def vectors(api: Api) -> Api:
    """A project p with nothing but vectors."""
    add_project(api)
    return api


def test_a_warm_start_begins_where_the_active_checkpoint_is(vectors: Api, worker: Context) -> None:
    label(vectors)
    first = trained(vectors, worker, options={"hidden": [20]}, seed=1, loss_prediction=True)
    outputs = network_outputs(vectors, worker)
    # No epoch, another seed and loss: all of the start, its loss predictor too, and nothing else.
    same = trained(vectors, worker, warm_start=True, epochs=0, seed=2, loss="cross_entropy")
    assert same["checkpoint"] == first["checkpoint"]
    assert suggested(vectors, worker, "ll4al")["strategy"] == "ll4al"
    assert torch.equal(network_outputs(vectors, worker), outputs)
    assert same["trained"]["steps"] == 0
    assert checkpoints(worker)[-1].options["hidden"] == [20]
    assert suggested(vectors, worker, "auto")["strategy"] == "mlmoc"
    label(vectors, order=[10, 11, 12])
    further = trained(vectors, worker, warm_start=True, learning_rate=1e-4)
    moved = network_outputs(vectors, worker)
    assert further["trained"]["labels"] == 9
    # Small steps from there stay near; a cold start with them would know nothing.
    assert 0 < float((moved - outputs).abs().max()) < 0.5
    assert accuracy_on_the_rest(moved) > 0.7


def test_a_warm_start_from_an_uploaded_checkpoint_stays_trained(api: Api, worker: Context) -> None:
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    trained(api, worker, warm_start=True)
    made = checkpoints(worker)[-1]
    assert (made.architecture, made.options["hidden"]) == ("mlp", [16, 8])
    # There was nothing to learn, and what the upload had learned is there.
    assert suggested(api, worker, "auto")["strategy"] == "mlmoc"


def test_warm_starts_that_cannot_be(vectors: Api, worker: Context) -> None:
    train = "/projects/p/train"
    assert_problem(vectors.post(train, {"warm_start": True}), 409, "not_prepared", "active checkpoint")
    trained(vectors, worker)
    for other in ({"architecture": "mlp"}, {"options": {"hidden": [7]}}):
        answer = vectors.post(train, {"warm_start": True, **other})
        assert_problem(answer, 422, "wrong_layout", "embedding:mlp", "leave architecture and options out")
    assert trained(vectors, worker, warm_start=True, architecture="embedding:mlp", options={"hidden": [256]})


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5,), "embedding:mlp"), ((1, 16, 16), "cnn"), ((3, 20, 24), "cnn"), ((1, 8, 8), "mlp"), ((4, 6), "mlp")],
)
def test_the_items_choose_the_architecture(shape: tuple[int, ...], expected: str, api: Api, worker: Context) -> None:
    add_project(api, x=np.random.default_rng(0).normal(size=(9, *shape)).astype(np.float32))
    label(api, order=[0, 1, 2])
    result = trained(api, worker)
    assert result["trained"]["architecture"] == expected
    # And the active checkpoint from then on.
    trained(api, worker, architecture="mlp", options={"hidden": [5]})
    assert trained(api, worker)["trained"]["architecture"] == "mlp"
    assert checkpoints(worker)[-1].options["hidden"] == [5]


def test_one_training_at_a_time(vectors: Api, worker: Context) -> None:
    job_id = start(vectors)
    with worker.sessions.begin() as session:
        session.execute(sa.update(Job).values(created_at=sa.func.now()))
    problem = assert_problem(vectors.post("/projects/p/train", {}), 409, "training_already", job_id, "cancel")
    assert problem["job"] == job_id
    assert_problem(vectors.suggest(strategy="mlmoc"), 409, "not_prepared", job_id)
    with worker.sessions.begin() as session:
        assert jobs.claim(session, job_id, "other") is not None
    assert_problem(vectors.post("/projects/p/train", {}), 409, "training_already", job_id)
    add_project(vectors, "q")
    start(vectors, "q")
    assert vectors.post(f"/jobs/{job_id}/cancel").status_code == 202
    with worker.sessions.begin() as session:
        session.execute(sa.update(Job).where(Job.id == job_id).values(status="cancelled"))
    start(vectors)


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"loss": "fixmatch"}, 409, "no_labels", "no label yet"),
        ({"epoch": 3}, 422, "invalid_request", "epoch"),
        ({"fixmatch": {"ratio": 3}}, 422, "invalid_request", "ratio"),
        ({"fixmatch": {"confidence": 0}}, 422, "invalid_request", "confidence"),
        ({"loss": "hinge"}, 422, "invalid_request", "squared"),
        ({"epochs": -1}, 422, "invalid_request", "epochs"),
        ({"epochs": True}, 422, "invalid_request", "epochs"),
        ({"batch_size": 0}, 422, "invalid_request", "batch_size"),
        ({"learning_rate": 0}, 422, "invalid_request", "learning_rate"),
        ({"standardise": 1}, 422, "invalid_request", "standardise"),
        ({"kernel": {"knd": "pntk"}}, 422, "invalid_request", "knd"),
        ({"architecture": "transformer"}, 422, "invalid_manifest", "embedding:mlp"),
        ({"architecture": "cnn"}, 422, "invalid_manifest", "items of shape"),
        ({"options": {"hiden": [3]}}, 422, "invalid_manifest", "hiden"),
        ({"architecture": "mlp", "options": {"in_features": 7}}, 422, "wrong_shape", "7"),
        ({"options": {"classes": 9}}, 422, "wrong_classes", "9 classes"),
    ],
)
def test_what_cannot_be_trained_is_refused(body: Json, status: int, code: str, words: str, vectors: Api) -> None:
    assert_problem(vectors.post("/projects/p/train", body), status, code, words)
    assert vectors.get("/jobs").json()["jobs"] == []


def test_no_items_and_no_project(api: Api) -> None:
    assert_problem(api.post("/projects/p/train", {}), 404, "unknown_project", "'p'")
    api.project()
    assert_problem(api.post("/projects/p/train", {}), 409, "empty_pool", "POST /projects/p/pool")
