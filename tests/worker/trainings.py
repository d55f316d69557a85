"""Training over HTTP: a small project to train, and what tests ask of it."""

from collections.abc import Sequence
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
import torch

from store.tables import Checkpoint
from tests.api import Api, Json, names, npz
from tests.worker.conftest import run_queued
from worker.context import Context

CLASSES = ["a", "b", "c"]
ITEMS = 60
LABELED = [0, 1, 2, 7, 8, 9]
QUICK: Json = {"epochs": 60, "learning_rate": 0.02}
NOW = {"Prefer": "wait=0"}


def clusters() -> npt.NDArray[np.float32]:
    """Item k is of class k mod 3; scales and offsets are unlike, and want to be standardised."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ITEMS, 6)) + 6 * np.eye(3, 6)[np.arange(ITEMS) % 3]
    return (x * [1, 100, 0.01, 1, 1, 1] + [0, 5000, 0, 30, 0, 0]).astype(np.float32)


def add_project(api: Api, name: str = "p", x: npt.NDArray[np.float32] | None = None) -> None:
    """A project of these items, three clusters if none are given."""
    api.project(name)
    x = clusters() if x is None else x
    assert api.upload(npz(x=x, ids=np.array(names(len(x)))), name).status_code == 201


def label(api: Api, name: str = "p", order: Sequence[int] = LABELED) -> None:
    """Label items, by their places, as they are."""
    for k in order:
        assert api.label(f"item-{k}", CLASSES[k % 3], name).status_code == 201


def start(api: Api, name: str = "p", **body: Any) -> str:
    """Ask for a training; the job's id."""
    answer = api.post(f"/projects/{name}/train", {**QUICK, **body})
    assert answer.status_code == 202, answer.text
    job: Json = answer.json()
    assert (job["kind"], job["status"]) == ("train", "queued")
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    found: str = job["id"]
    return found


def job_of(api: Api, job_id: str) -> Json:
    """The job as it stands."""
    found: Json = api.get(f"/jobs/{job_id}").json()
    return found


def trained(api: Api, worker: Context, name: str = "p", **body: Any) -> Json:
    """The result of a training that succeeds; its checkpoint is active."""
    job_id = start(api, name, **body)
    run_queued(worker)
    job = job_of(api, job_id)
    assert job["status"] == "succeeded", job
    result: Json = job["result"]
    assert api.get(f"/projects/{name}").json()["checkpoint"] == result["checkpoint"]
    return result


def ended(api: Api, worker: Context, answer: httpx2.Response) -> Json:
    """The job of a request that does not wait, run to its end."""
    assert answer.status_code == 202, answer.text
    run_queued(worker)
    return job_of(api, answer.json()["id"])


def suggested(api: Api, worker: Context, strategy: str, count: int = 4) -> Json:
    """The answer to a request for suggestions."""
    job = ended(api, worker, api.suggest(count=count, strategy=strategy, seed=1, headers=NOW))
    assert job["status"] == "succeeded", job
    result: Json = job["result"]
    assert len({entry["item"] for entry in result["suggestions"]}) == count
    return result


def network_outputs(api: Api, worker: Context) -> torch.Tensor:
    """What the active checkpoint says of every item, (N, C)."""
    asked = {"items": ",".join(names(ITEMS)), "source": "network"}
    job = ended(api, worker, api.client.get("/projects/p/predictions", params=asked, headers=NOW))
    return torch.tensor([row["outputs"] for row in job["result"]["predictions"]], dtype=torch.float64)


def accuracy_on_the_rest(outputs: torch.Tensor) -> float:
    """Of the items that were not labeled."""
    rest = [k for k in range(ITEMS) if k not in LABELED]
    return sum(int(outputs[k].argmax()) == k % 3 for k in rest) / len(rest)


def checkpoints(worker: Context) -> list[Checkpoint]:
    """Every checkpoint there is, oldest first."""
    with worker.sessions.begin() as session:
        return list(session.scalars(sa.select(Checkpoint).order_by(Checkpoint.id)))
