"""Parquet and Arrow files as pools: which column is what, and what is refused."""

import resource
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.decoding.order import RefusedError
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import Sessions
from tests.api import Api, assert_problem, names, npz, vectors
from tests.decoders import decode
from tests.service.test_pool import Stored
from tests.tables import WRITERS, arrow_file, arrow_stream, parquet

X = vectors(5, 4)
IDS = names(5)
TEXTS = ["", "one\nline", "ä € 漢 \U0001f600", "x" * 100_000, "<b>&amp;</b>"]
LISTS = pa.array(X.tolist(), pa.list_(pa.float32()))


@pytest.fixture
def stored(sessions: Sessions, settings: ServiceSettings) -> Stored:
    return Stored(sessions, Artifacts(settings.artifacts_url))


def taken(api: Api, data: bytes, **fields: str) -> dict[str, Any]:
    answer = api.upload(data, file="table", **fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def items(api: Api) -> list[str]:
    return [item["item"] for item in api.get("/projects/p/items", limit=1000).json()["items"]]


@pytest.mark.parametrize("kind", WRITERS)
def test_lists_ids_and_texts(kind: str, api: Api, stored: Stored) -> None:
    api.project()
    answer = taken(api, WRITERS[kind]({"text": TEXTS, "id": IDS, "x": LISTS}))
    assert answer == {"added": 5, "items": 5, "input_shape": [4], "pool_version": 1, "job": None}
    assert np.array_equal(stored.inputs(*range(5)), X)
    assert items(api) == IDS
    contents = api.get("/projects/p/contents", items="item-2,item-3,item-0,item-1,item-4").json()["contents"]
    assert [content["text"] for content in contents] == [TEXTS[k] for k in (2, 3, 0, 1, 4)]
    assert {(c["kind"], c["values"], c["image"], c["length"]) for c in contents} == {("text", None, None, 4)}
    assert_problem(api.get("/projects/p/image", item="item-0"), 404, "no_picture", "text")


@pytest.mark.parametrize("kind", WRITERS)
def test_columns_of_numbers(kind: str) -> None:
    columns = {"a": pa.array([1, 2, 3], pa.int8()), "ids": [10, 11, 12], "b": pa.array([0.5, 1.5, -2], pa.float32())}
    found = decode(WRITERS[kind](columns), kind="parquet" if kind == "parquet" else "arrow")
    assert found.x.tolist() == [[1, 0.5], [2, 1.5], [3, -2]]
    assert found.x.dtype == np.float32
    assert found.decoded.ids == ["10", "11", "12"]


def test_dtypes(api: Api, stored: Stored) -> None:
    api.project()
    taken(api, parquet({"a": [1, 2]}))
    taken(api, parquet({"a": [2**40, 2], "id": ["large", "small"]}))
    assert stored.dtypes() == ["float32", "float64"]
    assert stored.inputs(0, 1, 2, 3)[:, 0].tolist() == [1, 2, 2**40, 2]


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (pa.array([2**63 + 2**20, 2], pa.uint64()), "uint64"), (pa.array([0.1, 0.2], pa.float64()), "float64"),
        (pa.array(np.array([0.5, 2], np.float16)), "float32"), (pa.array([0.5, 2], pa.float32()), "float32"),
        (pa.array([300, 2], pa.uint16()), "int64"),
    ],
)  # fmt: skip
def test_numbers_stay_exact(column: pa.Array, dtype: str) -> None:
    found = decode(parquet({"a": column}), kind="parquet").x
    assert found.dtype == dtype
    assert found[:, 0].tolist() == column.to_pylist()


@pytest.mark.parametrize(
    "column",
    [
        pa.FixedSizeListArray.from_arrays(pa.array(np.arange(48.0)), 24),
        pa.array(np.arange(48.0).reshape(2, 24).tolist(), pa.large_list(pa.float64())),
        pa.array(np.arange(48).reshape(2, 2, 3, 4).tolist(), pa.list_(pa.list_(pa.list_(pa.int32())))),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(48.0).reshape(2, 24)),
    ],
    ids=["fixed", "large", "nested", "tensor"],
)
def test_lists_of_all_kinds(column: pa.Array) -> None:
    for kind, write in WRITERS.items():
        found = decode(write({"x": column}), kind="parquet" if kind == "parquet" else "arrow")
        assert np.array_equal(found.x.reshape(2, 24), np.arange(48).reshape(2, 24))
        assert found.decoded.items == 2


def test_batches_row_groups_and_slices() -> None:
    """However the rows are cut up, they come in order."""
    x = vectors(2500, 3)
    columns = pa.table({"x": x.tolist(), "id": names(2500)})
    for kind, data in (
        ("parquet", parquet(columns, row_group_size=700)),
        ("arrow", arrow_file(columns, rows=999)),
        ("arrow", arrow_file(columns, compression="zstd")),
        ("arrow", arrow_stream(columns, rows=1)),
        ("arrow", arrow_stream(pa.concat_tables([columns.slice(0, 100), columns.slice(100, 2400)]))),
    ):
        found = decode(data, kind=kind)
        assert np.allclose(found.x, x)
        assert found.decoded.ids == names(2500)


def test_texts_in_npz(api: Api) -> None:
    api.project()
    texts = np.array(["a", "b c\n", "漢字", "", "<script>"])
    assert api.upload(npz(x=X, ids=np.array(IDS), text=texts)).status_code == 201
    contents = api.get("/projects/p/contents", items=",".join(IDS)).json()["contents"]
    assert [content["text"] for content in contents] == texts.tolist()
    second = npz(x=X, ids=np.array(names(5, "b-")), text=np.array([text.encode() for text in texts]))
    assert api.upload(second).status_code == 201
    assert api.get("/projects/p/contents", items="b-2").json()["contents"][0]["text"] == "漢字"


def test_other_columns_become_attributes_if_asked(api: Api) -> None:
    api.project()
    columns = {
        "x": LISTS,
        "site": pa.array(["north", None, "north", "east", "s"]).dictionary_encode(),
        "age": [1.5, float("nan"), None, 4.0, 5.0],
        "sure": [True, False, None, True, True],
        "count": [2**60, 1, 2, 3, 4],
    }
    without = api.upload(parquet(columns))
    assert_problem(without, 422, "invalid_table", "'site', 'age', 'sure', 'count'", "attributes=true", "leave them out")
    taken(api, parquet(columns), attributes="true")
    found = [item["attributes"] for item in api.get("/projects/p/items").json()["items"]]
    assert found == [
        {"site": "north", "age": 1.5, "sure": True, "count": 2**60},
        {"sure": False, "count": 1},
        {"site": "north", "count": 2},
        {"site": "east", "age": 4.0, "sure": True, "count": 3},
        {"site": "s", "age": 5.0, "sure": True, "count": 4},
    ]
    only = api.get("/projects/p/items", filter='{"site": "north", "age": {"min": 1}}').json()["items"]
    assert [item["item"] for item in only] == ["0"]


def test_held_out_and_sent_again(api: Api, stored: Stored, settings: ServiceSettings) -> None:
    api.project()
    data = parquet({"x": LISTS, "id": IDS, "text": TEXTS})
    taken(api, data, held_out="true")
    assert {item["state"] for item in api.get("/projects/p/items").json()["items"]} == {"held_out"}
    assert_problem(api.upload(data), 409, "duplicate_id", "'item-0'")
    artifacts = Artifacts(settings.artifacts_url)
    lost = list(artifacts.idle(-60))
    assert len(lost) == 2
    for name in lost:
        artifacts.remove(name)
    assert taken(api, data)["added"] == 0
    assert np.array_equal(stored.inputs(*range(5)), X)
    assert api.get("/projects/p/contents", items="item-1").json()["contents"][0]["text"] == TEXTS[1]


# Refusals


def column(values: list[Any], kind: pa.DataType | None = None, name: str = "x") -> Callable[[], pa.Table]:
    return lambda: pa.table({name: pa.array(values, kind)})


def twice_named() -> pa.Table:
    return pa.table([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])


def deep() -> pa.Table:
    kind = pa.float32()
    for _ in range(40):
        kind = pa.list_(kind)
    return pa.table({"x": pa.array([None], kind)})


def dictionary_bomb() -> pa.Table:
    """One string of 50 MB, two thousand times."""
    values = pa.array(["x" * (50 << 20)])
    return pa.table(
        {"x": [[1.0]] * 2000, "text": pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), values)}
    )


SAME: dict[str, tuple[Callable[[], pa.Table], int, str, tuple[str, ...]]] = {
    "null in a list": (column([[1.0, 2.0], [1.0, None]]), 422, "missing_value", ("'x'", "row 1")),
    "null for a list": (column([[1.0, 2.0], None]), 422, "missing_value", ("'x'", "row 1")),
    "null in a column": (column([1.0, 2.0, None], name="age"), 422, "missing_value", ("'age'", "row 2")),
    "NaN": (column([[1.0], [float("nan")]]), 422, "not_finite", ("'x'", "row 1")),
    "infinite in a column": (column([1.0, float("-inf")], name="age"), 422, "not_finite", ("'age'", "row 1")),
    "beyond float32": (column([1e300], name="age"), 422, "not_finite", ("'age'", "row 0")),
    "lists of other lengths": (column([[1.0], [1.0, 2.0]]), 422, "wrong_shape", ("'x'", "row 1")),
    "empty lists": (column([[], []], pa.list_(pa.float32())), 413, "item_too_large", ("1 to",)),
    "lists of texts": (column([["a"]]), 422, "unsupported_dtype", ("'x'", "string")),
    "lists of truth values": (column([[True]]), 422, "unsupported_dtype", ("bool",)),
    "no rows": (column([], pa.list_(pa.float32())), 422, "wrong_shape", ("no rows",)),
    "only texts": (column(["a"], name="text"), 422, "x_missing", ("text_vectors",)),
    "only a string column": (column(["a"], name="review"), 422, "x_missing", ("'review'",)),
    "no columns": (lambda: pa.table({}), 422, "x_missing", ()),
    "columns of one name": (twice_named, 422, "invalid_table", ("one name",)),
    "times": (lambda: pa.table({"x": [[1.0]], "at": pa.array([0], pa.timestamp("s"))}), 422, "invalid_table", ("at",)),
    "the answer": (lambda: pa.table({"a": [1.0], "label": [3]}), 422, "invalid_table", ("'label'", "POST /labels")),
    "pandas' index": (
        lambda: pa.table({"a": [1.0], "__index_level_0__": [3]}), 422, "invalid_table", ("index=False",),
    ),
    "ids twice": (lambda: pa.table({"a": [1.0], "id": ["a"], "ids": ["a"]}), 422, "invalid_table", ("keep one",)),
    "ids of numbers with a point": (lambda: pa.table({"a": [1.0], "id": [0.5]}), 422, "invalid_table", ("'id'",)),
    "id missing": (lambda: pa.table({"a": [1.0, 2], "id": ["a", None]}), 422, "invalid_ids", ("row 1",)),
    "long id": (lambda: pa.table({"a": [1.0], "id": ["a" * 3000]}), 422, "invalid_ids", ("2048",)),
    "text missing": (lambda: pa.table({"a": [1.0, 2], "text": ["a", None]}), 422, "missing_value", ("'text'", "row 1")),
    "long text": (lambda: pa.table({"a": [1.0], "text": ["a" * 100_001]}), 422, "invalid_table", ("100000",)),
    "text of numbers": (lambda: pa.table({"a": [1.0], "text": [1]}), 422, "invalid_table", ("'text'", "strings")),
    "deep": (deep, 422, "invalid_table", ("deeper than 3",)),
    "dictionary bomb": (dictionary_bomb, 422, "invalid_table", ("52428800 bytes",)),
    "many columns": (
        lambda: pa.table({str(k): [1.0] for k in range(10_001)}), 413, "invalid_table", ("10000",),
    ),
    "struct": (lambda: pa.table({"image": [{"bytes": b"x", "path": "a"}]}), 422, "x_missing", ("'image'",)),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", SAME)
def test_refused(name: str, kind: str) -> None:
    make, status, code, words = SAME[name]
    with pytest.raises(RefusedError) as caught:
        decode(WRITERS[kind](make()), kind="parquet" if kind == "parquet" else "arrow")
    assert (caught.value.status, caught.value.code) == (status, code), caught.value
    for word in words:
        assert word in caught.value.detail


@pytest.mark.parametrize("name", ["null in a list", "dictionary bomb", "many columns"])
def test_refused_by_the_service(name: str, shared: Api) -> None:
    make, status, code, words = SAME[name]
    shared.project(f"t{list(SAME).index(name)}")
    data = arrow_file(make())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_problem(shared.upload(data, f"t{list(SAME).index(name)}", "t"), status, code, *words)
    # The client, which is in this process too, holds the file's 50 MB more than once.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500 << 10
    assert shared.get(f"/projects/t{list(SAME).index(name)}").json()["items"] == 0


def test_ids_are_checked_as_everywhere(shared: Api) -> None:
    assert_problem(shared.upload(parquet({"a": [1.0, 2.0], "id": ["a", "a"]})), 422, "duplicate_id", "'a'")


def zeros_in_a_row(compression: str) -> Callable[[], bytes]:
    """Few bytes that are 88 MB of numbers, in one row."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(11_000_000)), 11_000_000)
    return lambda: parquet({"x": values}, compression=compression, use_dictionary=False)


GOOD = parquet({"x": LISTS, "id": IDS})
BYTES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "parquet cut short": (lambda: GOOD[: len(GOOD) // 2], 422, "truncated_upload"),
    "parquet without its middle": (lambda: GOOD[:40] + GOOD[-400:], 422, "truncated_upload"),
    "parquet of a footer only": (lambda: b"PAR1" + GOOD[-300:], 422, "truncated_upload"),
    "footer of 4 GB": (lambda: GOOD[:-8] + struct.pack("<I", 2**32 - 1) + b"PAR1", 422, "truncated_upload"),
    "encrypted parquet": (lambda: b"PAR1" + b"\0" * 90 + struct.pack("<I", 50) + b"PARE", 422, "truncated_upload"),
    "file cut short": (lambda: arrow_file({"x": LISTS})[:300], 422, "truncated_upload"),
    "stream cut short": (lambda: arrow_stream({"x": LISTS})[:-100], 422, "truncated_upload"),
    "stream of nothing": (lambda: b"\xff" * 8 + b"\0" * 100, 422, "truncated_upload"),
    "schema of 2 GB": (lambda: b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\0" * 100, 422, "truncated_upload"),
    "a row of 11,000,000 numbers": (zeros_in_a_row("zstd"), 413, "item_too_large"),
}


@pytest.mark.parametrize("name", BYTES)
def test_damaged(name: str, shared: Api) -> None:
    make, status, code = BYTES[name]
    data = make()
    project = f"d{list(BYTES).index(name)}"
    shared.project(project)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_problem(shared.upload(data, project, "t"), status, code)
    # The client, which is in this process too, holds the file's 50 MB more than once.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500 << 10


def test_bytes_turned_over_never_break_the_service(shared: Api) -> None:
    """A decoder that crashes takes nothing with it; whatever comes of a damaged table is a problem, or items."""
    rng = np.random.default_rng(0)
    codes = set()
    for trial in range(3):
        data = bytearray(list(WRITERS.values())[trial % 3]({"x": LISTS, "id": names(5, f"{trial}-"), "text": TEXTS}))
        for place in rng.integers(8, min(len(data), 3000), 40):
            data[place] = rng.integers(256)
        shared.project(f"turned-{trial}")
        answer = shared.upload(bytes(data), f"turned-{trial}")
        codes.add(answer.json().get("code", "taken"))
        assert answer.status_code in {201, 413, 422}, answer.text
    assert "truncated_upload" in codes
