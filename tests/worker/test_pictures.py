"""A folder of pictures from its archive to suggestions, with what people see of them kept throughout."""

import io
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from embedded.backup import backup
from embedded.deployment import Deployment
from embedded.restore import restore
from embedded.servers import Postgres
from service.app import create_app
from service.settings import ServiceSettings
from store import pruning
from store.artifacts import Artifacts
from store.database import Sessions
from tests.api import Api, archive
from tests.pictures import encoded, pixels
from tests.service.test_resumable_uploads import begin, patch
from tests.worker.conftest import run_queued
from worker.context import Context

ITEMS = 400


@pytest.fixture
def digits(api: Api) -> tuple[Api, list[int]]:
    """A project with scikit-learn's digits as 400 PNG files, sent as a resumable upload; and their classes."""
    from sklearn.datasets import load_digits  # takes seconds to load

    images, classes = load_digits(return_X_y=True)
    values = np.rint(images.reshape(-1, 8, 8) / 16 * 255).astype(np.uint8)
    folder = archive({f"scans/{k}.png": encoded(values[k]) for k in range(ITEMS)})
    api.project("digits", [str(digit) for digit in range(10)])
    place = begin(api, len(folder))
    half = len(folder) // 2
    assert patch(api, place, 0, folder[:half]).status_code == 204
    assert patch(api, place, half, folder[half:]).status_code == 204
    form = {"upload": (None, place.rpartition("/")[2]), "image_size": (None, "16")}
    answer = api.client.post("/projects/digits/pool", files=form)
    assert answer.status_code == 201, answer.text
    assert answer.json()["input_shape"] == [3, 16, 16]
    return api, [int(label) for label in classes[:ITEMS]]


@pytest.mark.usefixtures("quick")
def test_from_an_archive_to_suggestions(digits: tuple[Api, list[int]], worker: Context) -> None:
    api, classes = digits
    labels = [{"item": f"scans/{k}.png", "label": str(classes[k])} for k in range(150)]
    assert api.post("/labels", {"project": "digits", "labels": labels}).status_code == 201
    assert api.post("/projects/digits/train", {"epochs": 40}).status_code == 202
    run_queued(worker)
    asked = api.suggest("digits", {"Prefer": "wait=0"}, count=5)
    run_queued(worker)
    result = api.get(asked.headers["location"]).json()["result"]
    suggested = [found["item"] for found in result["suggestions"]]
    assert len(set(suggested)) == 5
    assert not set(suggested) & {entry["item"] for entry in labels}
    seen = api.get("/projects/digits/contents", items=",".join(suggested)).json()["contents"]
    assert {content["kind"] for content in seen} == {"image"}
    assert all(api.client.get(content["image"]).status_code == 200 for content in seen)
    rest = [f"scans/{k}.png" for k in range(150, ITEMS)]
    asked = api.client.get("/projects/digits/predictions", params={"items": rest}, headers={"Prefer": "wait=0"})
    run_queued(worker)
    predictions = api.get(asked.headers["location"]).json()["result"]["predictions"]
    right = [found["predicted"] == str(label) for found, label in zip(predictions, classes[150:], strict=True)]
    assert np.mean(right) > 0.8


def test_pictures_outlive_tidying_and_a_move(
    digits: tuple[Api, list[int]],
    sessions: Sessions,
    settings: ServiceSettings,
    postgres: Postgres,
    elsewhere: Deployment,
    tmp_path: Path,
) -> None:
    api, _ = digits
    artifacts = Artifacts(settings.artifacts_url)
    stray = artifacts.put_file(io.BytesIO(b"refers to nothing"))
    assert pruning.collect(sessions, artifacts, -60) == 1
    assert not artifacts.exists(stray)
    before = api.get("/projects/digits/image", item="scans/7.png")
    manifest = backup(Deployment(settings.database_url, artifacts, postgres.binaries()), tmp_path / "b.tar")
    assert len(manifest["artifacts"]) == 2
    restore(elsewhere, tmp_path / "b.tar")
    there = settings.model_copy(
        update={"database_url": elsewhere.database_url, "artifacts_url": f"file://{tmp_path}/elsewhere"}
    )
    with TestClient(create_app(there)) as client:
        after = Api(client).get("/projects/digits/image", item="scans/7.png")
    assert after.status_code == 200
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
    assert pixels(after.content).shape == (96, 96)
