"""Training by the SDK and from a shell: from vectors to a checkpoint, with progress, options and refusals."""

import inspect
import json
import uuid
from collections.abc import Callable
from typing import Any, get_type_hints

import numpy as np
import pytest
from typer.testing import CliRunner

from api_schemas.train import TrainRequest
from client.cli import app
from client.cli_jobs import train
from client.errors import ApiError
from client.sdk import Client
from client.training import TrainSettings
from embedded.supervisor import Supervisor
from tests.api import names
from tests.client.test_transport import JOB, answering
from tests.client.typed import lookahead

HIDDEN = {"hidden": [16]}


@pytest.fixture
def project(client: Client) -> str:
    """Twelve vectors of two kinds, four of them labeled."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    client.create_project(name, ["a", "b"])
    x = np.random.default_rng(0).normal(size=(12, 4)) + 5 * (np.arange(12) % 2)[:, None]
    client.upload_pool(name, x.astype(np.float32), names(12))
    client.labels(name, [(f"item-{k}", k % 2) for k in range(4)])
    return name


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """The bodies that a command line sends to a service that takes them all."""

    def bodies(*words: str) -> list[dict[str, Any]]:
        with answering(lambda _: (202, {**JOB, "kind": "train"})) as (url, seen):
            done = CliRunner().invoke(app, ["--url", url, *words])
            assert done.exit_code == 0, done.output
            assert "Job job-1 trains it." in done.output
            assert {(request["method"], request["path"]) for request in seen} == {("POST", "/projects/p/train")}
            return [json.loads(request["body"]) for request in seen]

    return bodies


def test_from_vectors_to_a_network_that_knows_them(client: Client, project: str) -> None:
    stages: list[str] = []
    done = client.wait_for(client.train(project, options=HIDDEN, seed=1), lambda job: stages.append(job.stage))
    assert (done.kind, stages[-1]) == ("train", "succeeded")
    assert done.result is not None
    assert done.result["trained"]["architecture"] == "embedding:mlp"
    assert done.result["trained"]["labels"] == 4
    assert client.project(project).checkpoint == done.result["checkpoint"]
    found = client.predictions(project, names(12), "network").predictions
    assert [entry.predicted for entry in found] == ["a", "b"] * 6
    again = client.wait_for(client.train(project, "mlp", epochs=0, loss="cross_entropy", standardise=False))
    assert again.result is not None
    assert again.result["trained"] == done.result["trained"] | {
        "architecture": "mlp",
        "steps": 0,
        "loss": 0,
        "labels": 0,
    }


def test_every_setting_of_the_interface_can_be_given(client: Client, project: str) -> None:
    fields = set(TrainRequest.model_fields)
    assert set(get_type_hints(TrainSettings)) == fields - {"architecture", "options"}
    assert {"option" if name == "options" else name for name in fields} <= set(inspect.signature(train).parameters)
    client.wait_for(client.train(project, options=HIDDEN))
    job = client.train(
        project,
        epochs=1,
        loss="fixmatch",
        seed=2,
        learning_rate=1e-3,
        batch_size=2,
        weight_decay=0.1,
        warm_start=True,
        standardise=True,
        loss_prediction=True,
        fixmatch={"unlabeled_ratio": 1},
        kernel={"kind": "last_layer"},
    )
    done = client.wait_for(job)
    assert done.result is not None
    assert len(client.suggest(project, 2, strategy="ll4al").suggestions) == 2


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"warm_start": True}, "not_prepared"),
        ({"architecture": "resnet"}, "invalid_manifest"),
        ({"epochs": -1}, "invalid_request"),
        ({"fixmatch": {"confidence": 2}}, "invalid_request"),
    ],
)
def test_refusals_are_typed(settings: dict[str, Any], code: str, client: Client, project: str) -> None:
    with pytest.raises(ApiError) as refused:
        client.train(project, **settings)
    assert refused.value.code == code
    assert client.jobs(project) == []


def test_from_a_shell(running: Supervisor, client: Client, project: str) -> None:
    url = running.url
    said = lookahead(url, "train", project, "--option", "hidden=[16]", "--seed", "3")
    active = client.project(project).checkpoint
    assert said == f"Checkpoint {active}, embedding:mlp trained on 4 labels, is active.\n"
    same = json.loads(lookahead(url, "train", project, "--seed", "3", "--json"))
    assert (same["status"], same["result"]["checkpoint"]) == ("succeeded", active)
    initial = lookahead(url, "train", project, "--epochs", "0", "--architecture", "embedding:linear")
    assert "embedding:linear with the weights that it started from, is active" in initial
    queued = json.loads(lookahead(url, "--json", "train", project, "--no-wait"))
    assert queued["result"] is None
    assert lookahead(url, "watch", queued["id"]) == "train succeeded\n"
    refused = lookahead(url, "train", project, "--warm-start", "--option", "hidden=[3]", status=1)
    assert "(invalid_manifest)" in refused
    assert "cross_entropy" in lookahead(url, "train", project, "--loss", "hinge", status=2)
    assert "is not JSON" in lookahead(url, "train", project, "--fixmatch", "{", status=2)
    assert "unknown_project" in lookahead(url, "train", "nowhere", status=1)


def test_what_is_typed_is_what_is_sent(answered: Callable[..., list[dict[str, Any]]]) -> None:
    words = (
        "--architecture mlp --option hidden=[4] --epochs 7 --loss fixmatch --seed 5 --learning-rate 0.1 --batch-size 3"
        ' --weight-decay 0.2 --warm-start --no-standardise --loss-prediction --fixmatch {"realign":false}'
        ' --kernel {"window":5} --no-wait'
    )
    (sent,) = answered("train", "p", *words.split())
    assert sent == {
        "architecture": "mlp",
        "options": {"hidden": [4]},
        "epochs": 7,
        "loss": "fixmatch",
        "seed": 5,
        "learning_rate": 0.1,
        "batch_size": 3,
        "weight_decay": 0.2,
        "warm_start": True,
        "standardise": False,
        "loss_prediction": True,
        "fixmatch": {"realign": False},
        "kernel": {"window": 5},
    }
    # What is not said is left to the service; what can only be on or off is as the help says.
    (sent,) = answered("train", "p", "--no-wait")
    assert sent == {"warm_start": False, "standardise": True, "loss_prediction": False}
