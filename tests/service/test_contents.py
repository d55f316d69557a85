"""What people see of items: pictures, texts, numbers; and how long a browser may keep them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from store.artifacts import Artifacts
from tests.api import Api, assert_problem, npy, npz, vectors


def pixels(data: bytes) -> npt.NDArray[Any]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def shown(api: Api, array: npt.NDArray[Any], size: int = 16) -> npt.NDArray[Any]:
    """The picture of a pool's only item."""
    api.project()
    assert api.upload(npy(array[None])).status_code == 201
    answer = api.get("/projects/p/image", item="0", size=size)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == ("image/png" if max(array.shape) > size / 2 else "image/jpeg")
    return pixels(answer.content)


CHECKS = np.indices((9, 16)).sum(axis=0) % 2


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (CHECKS, 255 * CHECKS),
        (CHECKS * 0.2, 51 * CHECKS),
        (CHECKS * 200, 200 * CHECKS),
        (CHECKS * 16, 255 * CHECKS),
        (CHECKS * 1000, 255 * CHECKS),
        (CHECKS * 2 - 1, 255 * CHECKS),
        (CHECKS * 6e38 - 3e38, 255 * CHECKS),
        (CHECKS * 0 - 3, 128 + 0 * CHECKS),
        (CHECKS[None], 255 * CHECKS),
        (CHECKS[:, :, None], 255 * CHECKS),
        (np.stack([CHECKS, 0 * CHECKS, CHECKS]), np.stack([255 * CHECKS, 0 * CHECKS, 255 * CHECKS], axis=2)),
        (np.stack([CHECKS, 0 * CHECKS, CHECKS], axis=2), np.stack([255 * CHECKS, 0 * CHECKS, 255 * CHECKS], axis=2)),
    ],
    ids=["0..1", "within 0..1", "0..255", "0..16", "beyond", "below 0", "huge", "constant", "1HW", "HW1", "3HW", "HW3"],
)
def test_arrays_are_drawn(array: npt.NDArray[Any], expected: npt.NDArray[Any], api: Api) -> None:
    found = shown(api, array.astype(np.float32))
    assert np.array_equal(found, expected)


def test_sizes(api: Api) -> None:
    assert shown(api, np.random.default_rng(0).random((40, 20)), 96).shape == (96, 48)
    for size, expected in ((16, (16, 8)), (79, (40, 20)), (80, (80, 40)), (512, (512, 256))):
        assert pixels(api.get("/projects/p/image", item="0", size=size).content).shape == expected
    for wrong in ("15", "513", "x"):
        assert_problem(api.get("/projects/p/image", item="0", size=wrong), 422, "invalid_request", "size")


def test_small_pictures_are_enlarged_smoothly(api: Api) -> None:
    half = np.repeat([0.0, 1.0], 4)[None, :].repeat(8, axis=0)
    found = shown(api, half, 384).astype(int)
    assert found.shape == (384, 384)
    assert found[192, 100] < 10
    assert found[192, 284] > 245
    row = found[192, 168:217]  # from the middle of the last dark pixel to that of the first light one
    assert (np.diff(row) >= -2).all()  # it rises, but for what JPEG leaves out,
    assert np.diff(row).max() < 16  # and nowhere steeply
    assert len(set(row)) > 20


@pytest.mark.parametrize("shape", [(3,), (400,), (3, 9), (2, 8, 8), (3, 3, 9), (8, 8, 8), (1, 1025, 4), (3, 1, 8, 8)])
def test_what_is_no_picture_is_a_vector(shape: tuple[int, ...], api: Api) -> None:
    api.project()
    api.upload(npz(x=np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape), ids=np.array(["a"])))
    (content,) = api.get("/projects/p/contents", items="a").json()["contents"]
    length = int(np.prod(shape))
    assert (content["kind"], content["length"], content["image"], content["text"]) == ("vector", length, None, None)
    assert len(content["values"]) == min(length, 256)
    assert (content["values"][0], content["values"][-1]) == (0, length - 1)
    assert max(np.diff(content["values"])) <= length / 255 + 1
    assert_problem(api.get("/projects/p/image", item="a"), 404, "no_picture", str(list(shape)))


def test_in_the_order_asked(api: Api) -> None:
    api.project()
    first = np.round(vectors(3), 2)
    api.upload(npz(x=first, ids=np.array(["a", "b/1 ?&,x", "c"])))
    api.upload(npz(x=first + 1, ids=np.array(["d", "e", "f"])))
    asked = ["f", "b/1 ?&,x", "a", "f"]
    answer = api.get("/projects/p/contents", items='f,"b/1 ?&,x",a,f')
    assert answer.status_code == 200, answer.text
    assert [content["item"] for content in answer.json()["contents"]] == asked
    rows = [content["values"] for content in answer.json()["contents"]]
    assert np.allclose(rows, [first[2] + 1, first[1], first[0], first[2] + 1], rtol=1e-5)


def test_the_path_of_a_picture_leads_to_it(api: Api) -> None:
    api.project()
    api.upload(npz(x=np.random.default_rng(0).random((2, 8, 8)), ids=np.array(["a/ä &?#.png", "b"])))
    (content,) = api.get("/projects/p/contents", items="a/ä &?#.png").json()["contents"]
    assert (content["kind"], content["values"], content["length"]) == ("image", None, 64)
    answer = api.client.get(content["image"])
    assert answer.status_code == 200
    assert pixels(answer.content).shape == (96, 96)


def test_a_picture_may_be_kept_for_ever(api: Api) -> None:
    shown(api, CHECKS)
    address = api.get("/projects/p/contents", items="0").json()["contents"][0]["image"]
    first = api.client.get(address)
    assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
    # An address that does not say which picture it is may be another's tomorrow.
    for version in ({}, {"v": "0123456789abcdef"}):
        assert api.get("/projects/p/image", item="0", **version).headers["cache-control"] == "private, no-cache"
    assert first.headers["vary"] == "Authorization"
    assert first.headers["x-content-type-options"] == "nosniff"
    policies = first.headers.get_list("content-security-policy")
    assert "default-src 'none'; sandbox" in policies
    assert "frame-ancestors 'none'" in policies
    etag = first.headers["etag"]
    for asked in (etag, f'"other", W/{etag}', "*"):
        again = api.client.get(address, headers={"If-None-Match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert again.headers["cache-control"] == first.headers["cache-control"]
    assert api.client.get("/projects/p/image?item=0", headers={"If-None-Match": '"other"'}).status_code == 200
    assert api.get("/projects/p/image", item="0", size=97).headers["etag"] != etag
    assert api.client.delete("/projects/p").status_code == 202
    shown(api, -CHECKS)
    assert api.get("/projects/p/contents", items="0").json()["contents"][0]["image"] != address
    other = api.client.get(address, headers={"If-None-Match": etag})
    assert (other.status_code, other.headers["cache-control"]) == (200, "private, no-cache")


def test_requests_that_are_wrong(api: Api) -> None:
    api.project()
    api.pool(items=3)
    assert_problem(api.get("/projects/q/contents", items="item-0"), 404, "unknown_project")
    assert_problem(api.get("/projects/q/image", item="item-0"), 404, "unknown_project")
    assert_problem(api.get("/projects/p/contents", items="item-0,x"), 404, "unknown_item", "'x'")
    assert_problem(api.get("/projects/p/image", item="x"), 404, "unknown_item", "'x'")
    assert_problem(api.get("/projects/p/contents"), 422, "invalid_request", "items")
    assert_problem(api.get("/projects/p/image"), 422, "invalid_request", "item")
    assert_problem(api.get("/projects/p/contents", items=",".join(["item-0"] * 201)), 422, "invalid_request", "200")
    assert len(api.get("/projects/p/contents", items=",".join(["item-0"] * 200)).json()["contents"]) == 200


def test_inputs_that_are_lost_are_said_to_be(api: Api, tmp_path: Path) -> None:
    shown(api, CHECKS)
    api.project("q")
    api.upload(npy(vectors(2)), "q")
    for blob in (tmp_path / "artifacts").rglob("*"):
        if blob.is_file():
            blob.unlink()
    assert_problem(api.get("/projects/p/image", item="0"), 409, "artifact_lost", "again")
    assert_problem(api.get("/projects/q/contents", items="0"), 409, "artifact_lost", "again")


def test_only_the_rows_asked_for_are_read(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where artifacts lie in a bucket, a few items cost a few short reads and no copy of the whole array."""
    api.project()
    x = vectors(3000, 50)
    api.upload(npy(x))
    context = api.client.app.state.context  # type: ignore[attr-defined]
    (blob,) = (path for path in (tmp_path / "artifacts").rglob("*") if path.is_file())
    bucket = Artifacts(f"memory://{tmp_path.name}", cache=tmp_path / "cache")
    with blob.open("rb") as file:
        assert bucket.put_file(file) == blob.name
    read: list[int] = []
    cat_file = bucket._fs.cat_file

    def counted(path: str, start: int, end: int) -> bytes:
        data: bytes = cat_file(path, start=start, end=end)
        read.append(len(data))
        return data

    monkeypatch.setattr(bucket._fs, "cat_file", counted)
    object.__setattr__(context, "artifacts", bucket)
    for most in (2000 * 200 + 120_000, 20_000):  # bytes: the first time with a sample to compare with, which is kept
        read.clear()
        answer = api.get("/projects/p/contents", items="2999,0,1500").json()["contents"]
        assert np.allclose([content["values"] for content in answer], x[[2999, 0, 1500]], rtol=1e-5)
        assert sum(read) < most
    assert not (tmp_path / "cache" / blob.name).exists()
