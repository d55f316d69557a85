"""Pool uploads that are fine, in every format, and what becomes of them."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import sqlalchemy as sa

from service.settings import ServiceSettings
from store import pools
from store.artifacts import Artifacts
from store.database import Sessions
from store.tables import PoolChunk
from tests.api import Api, assert_problem, names, npy, npz, vectors

X = vectors(5, 4)


def safetensors(x: npt.NDArray[np.float32], ids: list[str]) -> bytes:
    entry = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [0, x.nbytes]}
    header = json.dumps({"__metadata__": {"ids": json.dumps(ids)}, "x": entry}).encode()
    return struct.pack("<Q", len(header)) + header + x.tobytes()


def compressed(**arrays: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.fixture
def stored(sessions: Sessions, settings: ServiceSettings) -> "Stored":
    return Stored(sessions, Artifacts(settings.artifacts_url))


class Stored:
    """What the pool holds now."""

    def __init__(self, sessions: Sessions, artifacts: Artifacts) -> None:
        self.sessions, self.artifacts = sessions, artifacts

    def inputs(self, *positions: int) -> npt.NDArray[np.float64]:
        with self.sessions.begin() as session:
            parts = pools.chunks(session, 1)
        return pools.read_inputs(self.artifacts, parts, np.array(positions))

    def dtypes(self) -> list[str]:
        with self.sessions.begin() as session:
            return list(session.scalars(sa.select(PoolChunk.dtype).order_by(PoolChunk.version)))


@pytest.mark.parametrize(
    "data",
    [
        npz(x=X, ids=np.array(names(5))),
        npz(x=X, ids=np.array([name.encode() for name in names(5)])),
        compressed(x=X, ids=np.array(names(5))),
        safetensors(X, names(5)),
        npz(x=np.asfortranarray(X), ids=np.array(names(5))),
    ],
    ids=["npz", "npz with bytes", "npz compressed", "safetensors", "fortran order"],
)
def test_formats(data: bytes, api: Api, stored: Stored) -> None:
    api.project()
    answer = api.upload(data)
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"added": 5, "items": 5, "input_shape": [4], "pool_version": 1, "job": None}
    assert np.array_equal(stored.inputs(0, 1, 2, 3, 4), X)
    assert np.array_equal(stored.inputs(4, 0), X[[4, 0]])
    assert [i["item"] for i in api.get("/projects/p/items").json()["items"]] == names(5)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (X.astype(np.float16), "float32"),
        (X.astype(np.float64), "float64"),
        ((X > 0), "float32"),
        ((100 * X).astype(np.int8), "float32"),
        ((100 * X).astype(np.int64), "float32"),
        ((1e9 * X).astype(np.int64), "float64"),
    ],
)
def test_dtypes(array: npt.NDArray[np.generic], dtype: str, api: Api, stored: Stored) -> None:
    api.project()
    assert api.upload(npy(array), file="x.npy").status_code == 201
    assert stored.dtypes() == [dtype]
    assert np.array_equal(stored.inputs(*range(5)), array.astype(dtype))


def test_appending(api: Api, stored: Stored) -> None:
    api.project()
    images = np.random.default_rng(0).normal(size=(3, 2, 5, 6)).astype(np.float32)
    assert api.upload(npy(images)).json()["input_shape"] == [2, 5, 6]
    second = api.upload(npz(x=images.astype(np.float64), ids=np.array([10, 11, 12])))
    assert second.json() == {"added": 3, "items": 6, "input_shape": [2, 5, 6], "pool_version": 2, "job": None}
    items = [i["item"] for i in api.get("/projects/p/items").json()["items"]]
    assert items == ["0", "1", "2", "10", "11", "12"]
    assert np.array_equal(stored.inputs(5, 0, 3), images[[2, 0, 0]])
    assert_problem(api.upload(npy(images[:, :, :, :3])), 422, "wrong_shape", "[2, 5, 6]")


def test_blocks_of_rows(api: Api, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.uploads.rows.BLOCK", 64)
    api.project()
    x = vectors(100, 7)
    assert api.upload(npz(x=x)).status_code == 201
    assert np.array_equal(stored.inputs(*range(100)), x)
    broken = x.copy()
    broken[97, 3] = np.nan
    assert_problem(api.upload(npz(x=broken)), 422, "not_finite", "item 97")


def test_nothing_is_left_on_disk_by_a_refused_upload(api: Api, tmp_path: Path) -> None:
    api.project()
    broken = X.copy()
    broken[0, 0] = np.inf
    for data in (npy(broken), npy(X)[:-3]):
        assert api.upload(data).status_code == 422
    assert not [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert api.upload(npy(X)).status_code == 201
    assert len([path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]) == 1


def test_two_uploads_at_once_do_not_mix(api: Api, stored: Stored) -> None:
    from tests.service.test_labels import together

    api.project()
    answers = []
    data = [npz(x=np.full((20, 3), k, np.float32), ids=np.array(names(20, f"{k}-"))) for k in range(6)]
    together(*[lambda d=d: answers.append(api.upload(d)) for d in data])
    assert sorted(answer.json()["items"] for answer in answers) == [20, 40, 60, 80, 100, 120]
    listed = api.get("/projects/p/items", limit=1000).json()["items"]
    values = stored.inputs(*range(120))[:, 0]
    assert [i["item"].split("-")[0] for i in listed] == [str(int(value)) for value in values]


def test_a_zip_with_something_in_front_is_refused(api: Api) -> None:
    api.project()
    assert_problem(api.upload(b"#!/bin/sh\n" + npz(x=X)), 422, "unknown_format")
    with zipfile.ZipFile(io.BytesIO(npz(x=X))) as archive:
        assert archive.namelist() == ["x.npy"]
