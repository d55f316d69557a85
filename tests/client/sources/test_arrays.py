"""Arrays, tensors, datasets and loaders as items."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from client.sources.choose import as_source, embed_function
from client.sources.packing import packed
from client.sources.parts import Part, Reading, SourceError, merged

X = np.arange(24.0).reshape(6, 4)
Y = [0, 1, 0, 1, 2, 2]


def x_of(parts: list[Part]) -> list[list[float]]:
    return [row.tolist() for part in parts if part.x is not None for row in part.x]


def test_arrays_tensors_and_files_say_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", x=X, ids=[f"i{k}" for k in range(6)], y=Y)
    np.savez(tmp_path / "other.npz", features=X)
    sources = [
        X,
        torch.tensor(X, requires_grad=True),
        tmp_path / "x.npy",
        tmp_path / "x.npz",
        tmp_path / "other.npz",
        X.tolist(),
    ]
    for data in sources:
        assert x_of(list(as_source(data).parts())) == X.tolist()
    (part,) = as_source(tmp_path / "x.npz").parts()
    assert part.labels == ["0", "1", "0", "1", "2", "2"]
    assert part.ids == [f"i{k}" for k in range(6)]


def test_ids_and_labels_beside_an_array() -> None:
    source = as_source(X, Reading(ids=list("abcdef"), labels=np.array([1.0, np.nan, 10, 2, 2, 2])))
    (part,) = source.parts()
    assert part.labels == ["1", None, "10", "2", "2", "2"]
    assert source.classes is not None
    assert source.classes() == ["1", "2", "10"]
    with pytest.raises(SourceError, match="6 items, and there are 2 ids"):
        as_source(X, Reading(ids=["a", "b"]))
    with pytest.raises(SourceError, match="6 items, and there are 1 labels"):
        as_source(X, Reading(labels=["a"]))


def test_big_arrays_go_in_parts() -> None:
    x = np.zeros((5000, 4096), dtype=np.float32)
    parts = list(as_source(x, Reading(ids=[str(k) for k in range(5000)])).parts())
    assert len(parts) == 3
    assert [part.ids[0] for part in parts if part.ids] == ["0", "2048", "4096"]


class Pairs(Dataset[tuple[torch.Tensor, int]]):
    classes = ("zero", "one", "two")

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor(X[index]), Y[index]


class Pictures(Pairs):
    def __getitem__(self, index: int) -> tuple[Image.Image, int]:  # type: ignore[override]
        return Image.new("RGB", (8, 8)), Y[index]


@pytest.mark.parametrize(
    "data", [Pairs(), DataLoader(Pairs(), batch_size=4), TensorDataset(torch.tensor(X), torch.tensor(Y))]
)
def test_datasets_and_loaders(data: object) -> None:
    source = as_source(data)
    (part,) = source.parts()
    assert x_of([part]) == X.tolist()
    names = ["0", "1", "2"] if isinstance(data, TensorDataset) else ["zero", "one", "two"]
    assert part.labels == [names[label] for label in Y]
    assert source.classes is not None
    assert source.classes() == names


def test_a_dataset_of_pictures_and_one_without_labels() -> None:
    (part,) = as_source(Pictures()).parts()
    assert len(part.pictures or ()) == 6
    (part,) = as_source(TensorDataset(torch.tensor(X))).parts()
    assert part.labels is None
    assert x_of([part]) == X.tolist()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (DataLoader(Pairs(), shuffle=True), "shuffle=False"),
        (np.zeros(3), "rows of numbers"),
        (np.array([["a"]]), "rows of numbers"),
        (object(), "nothing that items can be read from"),
        ("/no/such/place", "no file or folder"),
        ([{"x": 1}], "rows of numbers"),
    ],
)
def test_what_makes_no_items(data: object, match: str) -> None:
    with pytest.raises(SourceError, match=match):
        as_source(data)


class Ragged(Pairs):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(1 + index % 2), 0


def test_items_of_several_shapes() -> None:
    source = as_source(Ragged())
    with pytest.raises(SourceError, match=r"the dataset, from item 1: items have several shapes, \[\(1,\), \(2,\)\]"):
        list(source.parts())


def test_texts_are_packed_with_their_vectors_whatever_their_length() -> None:
    texts = ["short", "long " * 100_000]
    (part,) = as_source(texts, Reading(dimensions=8)).parts()
    name, file = packed(part, ["a", "b"])
    assert name == "pool.arrow"
    assert len(file.getvalue()) < 600_000
    table = pa.ipc.open_file(file).read_all()
    assert table["text"].to_pylist() == texts
    assert np.allclose(np.array(table["x"].to_pylist()), np.asarray(part.x))


def test_joined_parts_keep_everything() -> None:
    parts = [Part(1, np.zeros((1, 2)), ids=[str(k)], labels=[None], attributes=[{"k": k}]) for k in range(3)]
    (part,) = merged(parts)
    assert (part.rows, part.ids, part.labels) == (3, ["0", "1", "2"], [None] * 3)
    assert part.attributes == [{"k": 0}, {"k": 1}, {"k": 2}]


def test_a_function_by_its_name() -> None:
    assert embed_function("numpy:asarray") is np.asarray
    for wrong in ("numpy", "numpy:nothing", "no.such:thing"):
        with pytest.raises(SourceError, match="MODULE:FUNCTION"):
            embed_function(wrong)
