"""Artifacts: by content, whole or not at all."""

import hashlib
import io
import os
from pathlib import Path

import fsspec
import numpy as np
import pytest

from store.artifacts import Artifacts
from store.errors import ArtifactCorruptError, ArtifactMissingError


@pytest.fixture(params=["file", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "file":
        return Artifacts(f"file://{tmp_path}/artifacts")
    return Artifacts(f"memory://{tmp_path.name}", cache=tmp_path / "cache")


def test_round_trip(artifacts: Artifacts) -> None:
    data = os.urandom(3_000_000)
    name = artifacts.put_file(io.BytesIO(data))
    assert name == hashlib.sha256(data).hexdigest()
    assert artifacts.path(name).read_bytes() == data
    assert artifacts.put_file(io.BytesIO(data)) == name
    array = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(artifacts.array(artifacts.put_array(array)), array)
    artifacts.check()
    for _ in range(2):
        artifacts.remove(name)
    with pytest.raises(ArtifactMissingError):
        artifacts.path(name)


def test_missing_and_corrupt_are_told_apart(artifacts: Artifacts) -> None:
    with pytest.raises(ArtifactMissingError):
        artifacts.path("0" * 64)
    with pytest.raises(ArtifactCorruptError):
        artifacts.array(artifacts.put_file(io.BytesIO(b"not an array")))


def test_what_arrives_changed_is_refused(tmp_path: Path) -> None:
    artifacts = Artifacts("memory://changed", cache=tmp_path)
    name = artifacts.put_file(io.BytesIO(b"right"))
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/changed/{name[:2]}/{name}", b"wrong")
    with pytest.raises(ArtifactCorruptError):
        artifacts.path(name)
    memory.pipe_file(f"/changed/{name[:2]}/{name}", b"right")
    assert artifacts.path(name).read_bytes() == b"right"


def test_nothing_is_left_of_a_broken_upload(tmp_path: Path) -> None:
    artifacts = Artifacts(f"file://{tmp_path}/artifacts")

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        artifacts.put_file(Broken())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
