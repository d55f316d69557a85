"""A full disk: a small file system of its own where mounting is allowed, filled to the brim. Nothing is mocked."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from embedded.servers import Postgres, Valkey
from migrations.__main__ import upgrade
from service.app import create_app
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import Sessions, connect
from store.errors import StorageFullError
from store.tables import LabelEvent
from tests.api import Api, assert_problem, npz, vectors
from tests.worker.conftest import run_queued
from worker.context import Context

_LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def small() -> Iterator[Callable[[int], Path]]:
    """Makes file systems of so many MiB."""
    made: list[Path] = []

    def mount(size: int) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="lh-"))
        if _LIBC.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}m,mode=755".encode()) != 0:
            folder.rmdir()
            pytest.skip("mounting is not allowed here")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def fill(folder: Path) -> Path:
    """Take all the room there is; remove the result to give it back."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_half_an_artifact_is_none(small: Callable[[int], Path]) -> None:
    folder = small(2)
    artifacts = Artifacts(f"file://{folder}/artifacts")
    kept = artifacts.put_array(np.arange(10))
    with pytest.raises(StorageFullError, match="no room"):
        artifacts.put_array(np.zeros(1 << 20))
    with (folder / "source").open("w+b") as source:
        source.truncate(4 << 20)
        with pytest.raises(StorageFullError, match="no room"):
            artifacts.put_file(source)
    (folder / "source").unlink()
    assert files(folder) == {artifacts.path(kept)}


def test_a_process_that_may_write_only_so_much(tmp_path: Path) -> None:
    script = f"""
import resource, signal, numpy
from store.artifacts import Artifacts
from store.errors import StorageFullError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    Artifacts("file://{tmp_path}").put_array(numpy.zeros(1 << 20))
except StorageFullError:
    print("full")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root)
    assert done.stdout == "full\n", done.stderr
    assert files(tmp_path) == set()


def test_an_upload_without_room_changes_nothing(
    small: Callable[[int], Path], settings: ServiceSettings, worker: Context
) -> None:
    folder = small(3)
    there = settings.model_copy(update={"artifacts_url": f"file://{folder}/artifacts"})
    worker.artifacts = Artifacts(there.artifacts_url)
    with TestClient(create_app(there), raise_server_exceptions=False) as client:
        client.app.state.context.redis.flushdb()  # type: ignore[attr-defined]
        api = Api(client)
        api.project()
        api.pool(items=200)
        before = files(folder)
        large = npz(x=vectors(100_000, 60)[:, :6].repeat(2, axis=0))
        assert_problem(api.upload(large), 507, "storage_full", "disk is full", "try again")
        filler = fill(folder)
        small_module = api.checkpoint(b"x" * 10)
        assert small_module.status_code == 422
        answer = api.upload(npz(x=vectors(100)))
        assert_problem(answer, 507, "storage_full")
        assert files(folder) - {filler} == before
        assert api.get("/projects/p").json()["items"] == 200
        filler.unlink()
        job = api.mlp()
        filler = fill(folder)
        run_queued(worker)
        failed = api.get(f"/jobs/{job['id']}").json()
        assert (failed["status"], failed["error"]["code"]) == ("failed", "storage_full"), failed
        filler.unlink()
        again = api.mlp()
        run_queued(worker)
        assert api.get(f"/jobs/{again['id']}").json()["status"] == "succeeded"


def test_a_label_is_acknowledged_only_when_there_was_room(
    small: Callable[[int], Path], valkey: Valkey, tmp_path: Path
) -> None:
    folder = small(140)
    with Postgres(folder) as postgres:
        upgrade(postgres.url)
        made = ServiceSettings(
            database_url=postgres.url, redis_url=valkey.url, artifacts_url=f"file://{tmp_path}/artifacts"
        )
        with TestClient(create_app(made), raise_server_exceptions=False) as client:
            api = Api(client)
            api.project()
            api.pool(items=5000)
            sessions = connect(postgres.url)
            acknowledged = 0
            filler = fill(folder)
            statuses = set()
            for start in range(0, 200_000, 5000):
                entries = [{"item": f"item-{k}", "label": "a", "event_id": f"{start}-{k}"} for k in range(5000)]
                answer = api.post("/labels", {"project": "p", "labels": entries})
                statuses.add(answer.status_code)
                if answer.status_code != 201:
                    code = {507: "storage_full", 503: "database_unavailable"}[answer.status_code]
                    assert_problem(answer, answer.status_code, code)
                    break
                acknowledged += 5000
            assert statuses & {503, 507}
            filler.unlink()
            if not postgres.alive():  # without room for its journal it stops, as it should
                postgres.start()
            assert counted(sessions) == acknowledged
            assert api.label("item-0", "b").status_code in {201, 503}  # a connection of before the stop ends first
            assert api.label("item-0", "c").status_code == 201
            sessions.kw["bind"].dispose()


def counted(sessions: Sessions) -> int:
    with sessions.begin() as session:
        return session.execute(sa.select(sa.func.count()).select_from(LabelEvent)).scalar_one()


def test_room_comes_back(small: Callable[[int], Path]) -> None:
    folder = small(2)
    artifacts = Artifacts(f"file://{folder}/artifacts")
    filler = fill(folder)
    with pytest.raises(StorageFullError):
        artifacts.put_array(np.zeros(1000))
    filler.unlink()
    artifacts.put_array(np.zeros(1000))
    shutil.rmtree(folder / "artifacts")
