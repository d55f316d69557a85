"""Arrays and weights as files: what another reader of the format gets out."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load, save

from client.uploads import pool_file, weights_file


def weights_bytes(given: Any) -> bytes:
    with weights_file(given) as (_, file):
        return file.read()


def test_weights_read_back_by_another_reader() -> None:
    random = np.random.default_rng(0)
    arrays: dict[str, npt.NDArray[Any]] = {
        "1.weight": random.normal(size=(4, 3)).astype(np.float32),
        "1.bias": random.normal(size=4),
        "half": random.normal(size=(2, 2, 1)).astype(np.float16),
        "turned": random.normal(size=(3, 5)).astype(np.float32).T,
        "big-endian": random.normal(size=3).astype(">f4"),
        "count": np.array(7, dtype=np.int64),
        "none": np.zeros((0, 3), dtype=np.float32),
    }
    found = load(weights_bytes(arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].shape == array.shape, name
        assert found[name].dtype == array.dtype.newbyteorder("="), name
        assert np.array_equal(found[name], array), name


def test_weights_from_bytes_and_files(tmp_path: Path) -> None:
    content = save({"w": np.ones(2, dtype=np.float32)})
    (tmp_path / "w.safetensors").write_bytes(content)
    for given in (content, tmp_path / "w.safetensors", str(tmp_path / "w.safetensors")):
        assert weights_bytes(given) == content


def test_weights_of_a_dtype_that_no_network_has() -> None:
    with pytest.raises(ValueError, match="complex64"):
        weights_bytes({"w": np.ones(2, dtype=np.complex64)})


def test_a_pool_from_an_array_and_from_a_file(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    with pool_file(x, ["a", "b", "ü"]) as (name, file):
        content = np.load(file, allow_pickle=False)
        assert name.endswith(".npz")
        assert np.array_equal(content["x"], x)
        assert content["ids"].tolist() == ["a", "b", "ü"]
    np.save(tmp_path / "x.npy", x)
    with pool_file(str(tmp_path / "x.npy"), None) as (name, file):
        assert name == "x.npy"
        assert np.array_equal(np.load(file), x)
    with pytest.raises(ValueError, match="ids"), pool_file(tmp_path / "x.npy", ["a"]):
        pass
