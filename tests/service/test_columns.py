"""What the numbers of items are called, and where they lie among those of their pool."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import contents
from store.artifacts import Artifacts
from tests.api import Api, assert_problem, names, npy, npz, vectors
from tests.tables import WRITERS, parquet

X = vectors(5, 3)
CALLED = ["mean radius", "area", "area error"]


def table(kind: str = "parquet", called: list[str] = CALLED, first: int = 0) -> bytes:
    columns: dict[str, Any] = {"id": [f"item-{first + row}" for row in range(5)]}
    columns |= {name: X[:, place] for place, name in enumerate(called)}
    return WRITERS[kind](columns)


def content(api: Api, item: str = "item-0") -> dict[str, Any]:
    answer = api.get("/projects/p/contents", items=item)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["contents"][0]
    return found


def called(*given: Any) -> bytes:
    return npz(x=X, ids=np.array(names(5)), columns=np.array(given))


@pytest.mark.parametrize("kind", WRITERS)
def test_tables_keep_the_names_of_their_columns(kind: str, api: Api) -> None:
    api.project()
    assert api.upload(table(kind), file="table").status_code == 201
    assert content(api)["names"] == CALLED
    # A later upload without names, and one with the same.
    assert api.upload(npy(X)).status_code == 201
    assert api.upload(table(kind, first=5), file="table").status_code == 201
    assert content(api, "5")["names"] == content(api, "item-7")["names"] == CALLED


def test_arrays_may_bring_names_later(api: Api) -> None:
    api.project()
    assert api.upload(npy(X)).status_code == 201
    assert content(api, "0")["names"] is None
    assert api.upload(called("a\nb", " \x07", "c" * 200)).status_code == 201
    assert content(api, "0")["names"] == ["a b", "", "c" * 200]


def test_other_names_are_refused(api: Api) -> None:
    api.project()
    assert api.upload(table(), file="table").status_code == 201
    other = api.upload(table(called=["mean radius", "volume", "area error"], first=5), file="table")
    assert_problem(other, 422, "wrong_columns", "number 2 of an item is 'volume', and 'area' in the pool")
    turned = api.upload(table(called=CALLED[::-1], first=5), file="table")
    assert_problem(turned, 422, "wrong_columns", "another order: number 1 of an item is 'area error'")
    assert api.get("/projects/p").json()["items"] == 5


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (called("a", "b"), "columns have shape [2], and x [5, 3]"),
        (called("a", "b", "c" * 201), "at most 200 characters"),
        (called(1, 2, 3), "strings"),
        (called(b"a", b"b", b"\xff"), "not text"),
        (npz(x=vectors(2, 10_001), columns=np.array(["a"] * 10_001)), "10001 names of columns, and 10000 is the most"),
        (
            npz(x=np.zeros((2, 3, 3), np.float32), columns=np.array(["a"] * 3)),
            "columns have shape [3], and x [2, 3, 3]",
        ),
        (table(called=["a", "b", "c" * 201]), "the name of column 3"),
    ],
    ids=["count", "length", "numbers", "bytes", "many", "matrices", "table"],
)
def test_names_that_are_none(data: bytes, detail: str, api: Api) -> None:
    api.project()
    assert_problem(api.upload(data, file="upload"), 422, "wrong_columns", detail)


def test_where_numbers_lie(api: Api) -> None:
    api.project()
    x = np.stack([np.arange(5000), np.full(5000, 0.1234567), np.arange(5000) % 2], axis=1).astype(np.float32)
    assert api.upload(parquet({"n": x[:, 0], "constant": x[:, 1], "half": x[:, 2]}), file="table").status_code == 201
    # Smaller than the first one: compared with that.
    late = np.array([[-1, 1, 1], [9999, 0, 0.5]], dtype=np.float32)
    assert api.upload(npz(x=late, ids=np.array(["below", "above"]))).status_code == 201
    answer = api.get("/projects/p/contents", items="0,2500,4999,below,above").json()["contents"]
    typical = np.array([each["typical"] for each in answer])
    expected = [[0, 0.5, 0.25], [0.5, 0.5, 0.25], [1, 0.5, 0.75], [0, 1, 0.75], [1, 0, 0.5]]
    assert np.allclose(typical, expected, atol=0.01)
    assert answer[3]["values"] == [-1, 1, 1]


def test_where_there_is_nothing_to_compare_with(api: Api) -> None:
    api.project()
    api.upload(npy(vectors(1, 256)))
    assert content(api, "0")["typical"] is None
    api.project("long")
    api.upload(npy(vectors(4, 257)), "long")
    (found,) = api.get("/projects/long/contents", items="0").json()["contents"]
    assert (found["names"], found["typical"], len(found["values"])) == (None, None, 256)


@pytest.mark.parametrize("items", [1, 7, 2000, 2001, 9000])
def test_samples_of_arrays_elsewhere(items: int, tmp_path: Path) -> None:
    elsewhere = Artifacts(f"memory://{tmp_path.name}", cache=tmp_path / "cache")
    here = Artifacts(str(tmp_path / "here"))
    x = np.arange(items * 6, dtype=np.float32).reshape(items, 2, 3)
    for artifacts in (elsewhere, here):
        found = contents.sample(artifacts, artifacts.put_array(x), 2000)
        assert found.shape == (min(items, 2000), 6)
        rows = (found[:, 0] / 6).astype(int)
        assert np.array_equal(found, x.reshape(items, 6)[rows])
        assert (rows[0], rows[-1], len(set(rows.tolist()))) == (0, items - 1, len(rows))
