"""Training over HTTP: from nothing but vectors to suggestions, and every way it can end."""

from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
import torch

from ntk.kernels import KernelEngine
from store.tables import Job
from tests.api import Api
from tests.worker.conftest import run_queued
from tests.worker.trainings import (
    ITEMS,
    LABELED,
    NOW,
    accuracy_on_the_rest,
    add_project,
    checkpoints,
    clusters,
    ended,
    job_of,
    label,
    network_outputs,
    start,
    suggested,
    trained,
)
from worker.checkpoints import open_loss_predictor, open_network
from worker.context import Context
from worker.jobs import run_in
from worker.progress import Reporter
from worker.training.loss_prediction import predicted_losses

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def vectors(api: Api) -> Api:
    """A project p with nothing but vectors."""
    add_project(api)
    return api


def test_from_nothing_but_vectors_to_suggestions_and_better_predictions(vectors: Api, worker: Context) -> None:
    first = trained(vectors, worker)
    nothing = {"labels": 0, "label_seq": 0, "steps": 0, "loss": 0.0, "architecture": "embedding:mlp", "notes": []}
    assert first["trained"] == nothing
    assert (first["window"], first["labeled"]) == (ITEMS, 0)
    for strategy in ("npc", "typiclust", "ntkcpl"):
        assert suggested(vectors, worker, strategy)["checkpoint"] == first["checkpoint"]
    assert suggested(vectors, worker, "auto")["strategy"] == "typiclust"
    before = network_outputs(vectors, worker)
    label(vectors)
    second = trained(vectors, worker)
    assert second["checkpoint"] != first["checkpoint"]
    assert second["labeled"] == 6
    told = second["trained"]
    assert (told["labels"], told["label_seq"], told["steps"]) == (6, 6, 60)
    after = network_outputs(vectors, worker)
    assert accuracy_on_the_rest(before) < 0.7
    assert accuracy_on_the_rest(after) > 0.9
    targets = torch.eye(3, dtype=torch.float64)[[k % 3 for k in LABELED]]
    loss = float((after[LABELED] - targets).square().sum(dim=1).mean())
    assert told["loss"] == pytest.approx(loss, rel=1e-3, abs=1e-6)
    assert suggested(vectors, worker, "auto")["strategy"] == "mlmoc"


def test_every_stage_is_told_and_steps_are_counted(
    vectors: Api, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(vectors)
    job_id = start(vectors)
    assert vectors.get("/projects/p").json()["checkpoint"] is None
    monkeypatch.setattr("worker.progress._WRITE_SECONDS", 0.0)
    seen: list[tuple[str, int, int, str]] = []
    write = Reporter._write

    def watched(self: Reporter) -> None:
        write(self)
        job = job_of(vectors, job_id)
        progress = job["progress"]
        seen.append((job["stage"], progress["done"], progress["total"], progress["unit"]))

    monkeypatch.setattr(Reporter, "_write", watched)
    run_queued(worker)
    assert job_of(vectors, job_id)["status"] == "succeeded"
    stages = list(dict.fromkeys(stage for stage, *_ in seen))
    assert stages == ["standardising inputs", "training", "saving", "outputs", "kernel", "factor", "diagnostics"]
    steps = [(done, unit) for stage, done, total, unit in seen if stage == "training" and total == 60]
    assert steps[-60:] == [(k, "steps") for k in range(1, 61)]


def test_cancelled_while_training(vectors: Api, worker: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    label(vectors)
    job_id = start(vectors)
    monkeypatch.setattr("worker.progress._WRITE_SECONDS", 0.0)
    advance, done = Reporter.advance, 0

    def cancel_at_the_third_step(self: Reporter, units: int = 1) -> None:
        nonlocal done
        done += units
        if done == 3:
            assert vectors.post(f"/jobs/{job_id}/cancel").json()["status"] == "running"
        advance(self, units)

    monkeypatch.setattr(Reporter, "advance", cancel_at_the_third_step)
    run_queued(worker)
    assert (job_of(vectors, job_id)["status"], done) == ("cancelled", 3)
    assert checkpoints(worker) == []
    assert vectors.get("/projects/p").json()["kernel_state"] is None
    monkeypatch.undo()
    trained(vectors, worker)


def killed(worker: Context, job_id: str) -> None:
    """The worker dies at once, and the job is given to the next."""
    with pytest.raises(KeyboardInterrupt):
        run_in(worker, job_id)
    with worker.sessions.begin() as session:
        session.execute(sa.update(Job).values(status="queued", worker=None))


def die(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


def test_interrupted_after_training_goes_on_with_preparing(
    vectors: Api, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(vectors)
    job_id = start(vectors)
    with monkeypatch.context() as patched:
        patched.setattr(KernelEngine, "_panel", die)
        killed(worker, job_id)
    (made,) = checkpoints(worker)
    # Labels that come between belong to the next training.
    label(vectors, order=[10])

    def never(*_: object, **__: object) -> NoReturn:
        raise AssertionError("trained again")

    monkeypatch.setattr("worker.train.fit", never)
    run_queued(worker)
    job = job_of(vectors, job_id)
    assert (job["status"], job["attempt"], job["result"]["checkpoint"]) == ("succeeded", 2, made.name)
    assert job["result"]["trained"]["labels"] == 6
    assert len(checkpoints(worker)) == 1


@pytest.mark.parametrize("where", ["worker.train.TrainOptions", "worker.progress.Reporter.advance", "second artifact"])
def test_killed_in_training_leaves_nothing_and_starts_again(
    where: str, vectors: Api, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(vectors)
    job_id = start(vectors, loss_prediction=True)
    put, kept = worker.artifacts.put_file, 0

    def put_two(file: Any) -> str:
        nonlocal kept
        kept += 1
        return put(file) if kept <= 2 else die()  # the standardisation, the weights, then the loss predictor

    with monkeypatch.context() as patched:
        if where == "second artifact":
            patched.setattr(worker.artifacts, "put_file", put_two)
        else:
            patched.setattr(where, die)
        killed(worker, job_id)
    assert checkpoints(worker) == []
    run_queued(worker)
    job = job_of(vectors, job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    # As if nothing had happened.
    assert trained(vectors, worker, loss_prediction=True)["checkpoint"] == job["result"]["checkpoint"]
    (made,) = checkpoints(worker)
    assert open_loss_predictor(worker, made, open_network(worker, made)) is not None


def test_a_training_that_explodes_is_told(api: Api, worker: Context) -> None:
    add_project(api, x=1e25 * clusters())
    label(api)
    job_id = start(api, standardise=False)
    run_queued(worker)
    job = job_of(api, job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "training_diverged")
    assert "standardise" in job["error"]["detail"]
    assert checkpoints(worker) == []
    # Standardised, the same numbers are learned.
    trained(api, worker)
    assert accuracy_on_the_rest(network_outputs(api, worker)) > 0.9


@pytest.mark.parametrize("loss", ["squared", "cross_entropy", "fixmatch"])
def test_every_loss_trains(loss: str, vectors: Api, worker: Context) -> None:
    label(vectors)
    result = trained(vectors, worker, loss=loss, fixmatch={"unlabeled_ratio": 1, "confidence": 0.8})
    (made,) = checkpoints(worker)
    # What the kernel model is told: fixmatch is a cross-entropy.
    assert made.loss == ("squared" if loss == "squared" else "cross_entropy")
    assert result["trained"]["labels"] == made.extras["trained_on"] == 6
    assert accuracy_on_the_rest(network_outputs(vectors, worker)) > 0.9


def test_predicted_losses_rank_for_ll4al(vectors: Api, worker: Context) -> None:
    label(vectors)
    trained(vectors, worker)
    refused = ended(vectors, worker, vectors.suggest(strategy="ll4al", headers=NOW))
    assert (refused["status"], refused["error"]["code"]) == ("failed", "no_loss_predictor")
    trained(vectors, worker, loss_prediction=True)
    made = checkpoints(worker)[-1]
    module = open_network(worker, made)
    predictor = open_loss_predictor(worker, made, module)
    assert predictor is not None
    expected = predicted_losses(module, predictor, torch.from_numpy(clusters()), torch.device("cpu"))
    found = suggested(vectors, worker, "ll4al", count=ITEMS - len(LABELED))["suggestions"]
    ranked = sorted((k for k in range(ITEMS) if k not in LABELED), key=lambda k: -float(expected[k]))
    assert [entry["item"] for entry in found] == [f"item-{k}" for k in ranked]
    assert [entry["score"] for entry in found] == pytest.approx([float(expected[k]) for k in ranked], rel=1e-4)


def test_same_seed_and_labels_same_checkpoint(vectors: Api, worker: Context) -> None:
    add_project(vectors, "q")
    label(vectors)
    label(vectors, "q")
    one = trained(vectors, worker, seed=3)["checkpoint"]
    assert trained(vectors, worker, "q", seed=3)["checkpoint"] == one
    assert trained(vectors, worker, "q", seed=4)["checkpoint"] != one
    vectors.label("item-10", "a", "q")
    assert trained(vectors, worker, "q", seed=3)["checkpoint"] != one
    assert trained(vectors, worker, seed=3)["checkpoint"] == one
