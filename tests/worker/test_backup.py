"""A backup of a service at work, restored elsewhere: the same labels, leases and answers."""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from embedded.backup import backup
from embedded.deployment import Deployment, opened
from embedded.errors import StartError
from embedded.restore import restore
from embedded.servers import Postgres
from migrations.__main__ import upgrade
from service.app import create_app
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import Sessions, connect
from store.tables import Base, LabelEvent, Suggestion
from tests.api import Api
from tests.worker.conftest import run_queued
from worker.context import Context

ITEMS = 60


@pytest.fixture
def service(api: Api, working: Context) -> Api:
    """A prepared project with labels and leases."""
    api.project()
    api.pool(items=ITEMS)
    answer = api.mlp()
    while api.get(f"/jobs/{answer['id']}").json()["status"] != "succeeded":
        working.stopping.wait(0.01)
    for step in range(5):
        api.label(f"item-{step}", "abc"[step % 3], annotator="ann")
    assert api.suggest(count=4, annotator="ann").status_code == 200
    assert api.suggest(count=2, annotator="ben").status_code == 200
    return api


@pytest.fixture
def source(service: Api, postgres: Postgres, settings: ServiceSettings) -> Deployment:
    return Deployment(settings.database_url, Artifacts(settings.artifacts_url), postgres.binaries())


def rows(url: str) -> dict[str, list[Any]]:
    sessions = connect(url)
    with sessions.begin() as session:
        found = {
            table.name: [tuple(row) for row in session.execute(sa.select(table).order_by(*table.primary_key))]
            for table in Base.metadata.sorted_tables
        }
    sessions.kw["bind"].dispose()
    return found


def answering(settings: ServiceSettings, there: Deployment, folder: Path) -> ServiceSettings:
    return settings.model_copy(
        update={"database_url": there.database_url, "artifacts_url": f"file://{folder}/elsewhere"}
    )


def test_everything_is_restored(
    source: Deployment, elsewhere: Deployment, service: Api, settings: ServiceSettings, tmp_path: Path
) -> None:
    manifest = backup(source, tmp_path / "b.tar")
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    assert (tmp_path / "b.tar").stat().st_mode & 0o077 == 0
    restore(elsewhere, tmp_path / "b.tar")
    assert rows(elsewhere.database_url) == rows(source.database_url)
    assert manifest["rows"]["label_events"] == 5
    assert len(manifest["kernels"]) >= 1
    assert set(elsewhere.artifacts.idle(-60)) == {*manifest["artifacts"], *manifest["kernels"]}
    with TestClient(create_app(answering(settings, elsewhere, tmp_path))) as client:
        there = Api(client)
        assert there.get("/projects/p/leases").json() == service.get("/projects/p/leases").json()
        assert there.label("item-9").json()["seq"] == 6


def test_one_moment_while_labels_stream_in(
    source: Deployment, elsewhere: Deployment, service: Api, sessions: Sessions, tmp_path: Path
) -> None:
    over = threading.Event()
    acknowledged: list[int] = [5]

    def stream() -> None:
        while not over.is_set():
            item = f"item-{acknowledged[-1] % ITEMS}"
            acknowledged.append(service.label(item, "abc"[acknowledged[-1] % 3]).json()["seq"])

    thread = threading.Thread(target=stream)
    thread.start()
    while len(acknowledged) < 10:
        over.wait(0.01)
    before = acknowledged[-1]
    manifest = backup(source, tmp_path / "b.tar")
    after = acknowledged[-1]
    over.set()
    thread.join(10)
    restore(elsewhere, tmp_path / "b.tar")
    there, here = rows(elsewhere.database_url), rows(source.database_url)
    taken = manifest["rows"]["label_events"]
    assert before <= taken <= after + 1
    assert there["label_events"] == here["label_events"][:taken]
    # Label n of the log is the item's own: fold and log are of one moment.
    folded = {row[1]: row[6] for row in there["items"] if row[6] is not None}
    assert max(folded.values()) == taken
    assert [row[:6] for row in there["suggestions"]] == [row[:6] for row in here["suggestions"]]


def test_without_kernels_they_are_prepared_again(
    source: Deployment,
    elsewhere: Deployment,
    settings: ServiceSettings,
    tmp_path: Path,
    new_context: Callable[[], Context],
) -> None:
    manifest = backup(source, tmp_path / "b.tar", kernels=False)
    assert manifest["kernels"] == []
    said: list[str] = []
    restore(elsewhere, tmp_path / "b.tar", say=said.append)
    assert "kernels to be prepared again: 1" in said
    made = answering(settings, elsewhere, tmp_path)
    with TestClient(create_app(made)) as client:
        api = Api(client)
        assert api.suggest().json()["code"] == "not_prepared"
        context = new_context()
        context.sessions = connect(made.database_url)
        context.artifacts = elsewhere.artifacts
        assert run_queued(context) == 1
        over = threading.Event()

        def work() -> None:
            while not over.is_set():
                run_queued(context)
                over.wait(0.005)

        thread = threading.Thread(target=work)
        thread.start()
        answer = api.suggest(count=3)
        over.set()
        thread.join(10)
        assert answer.status_code == 200, answer.text
        assert answer.json()["label_seq"] == 5
        context.sessions.kw["bind"].dispose()


def test_nothing_is_overwritten(source: Deployment, elsewhere: Deployment, tmp_path: Path) -> None:
    backup(source, tmp_path / "b.tar")
    with pytest.raises(StartError, match=r"not empty \(projects has rows\)"):
        restore(source, tmp_path / "b.tar")
    upgrade(elsewhere.database_url)  # tables without rows are no loss
    restore(elsewhere, tmp_path / "b.tar")
    assert rows(elsewhere.database_url) == rows(source.database_url)


def rewritten(file: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """The archive with members changed, or left out."""
    made = file.with_name("changed.tar")
    with tarfile.open(file) as old, tarfile.open(made, "w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            data = change(member.name, content.read())
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    return made


def test_a_damaged_backup_is_refused_and_leaves_nothing(
    source: Deployment, elsewhere: Deployment, tmp_path: Path
) -> None:
    backup(source, tmp_path / "b.tar")

    def flipped(kind: str) -> Callable[[str, bytes], bytes]:
        return lambda name, data: data[:-1] + bytes([data[-1] ^ 1]) if name.startswith(kind) else data

    def newer(name: str, data: bytes) -> bytes:
        return json.dumps(json.loads(data) | {"schema": "9999"}).encode() if name == "manifest.json" else data

    def without(name: str, data: bytes) -> bytes | None:
        return None if name.startswith("artifacts") else data

    broken = [
        (rewritten, flipped("artifacts"), "other bytes than its name"),
        (rewritten, flipped("database"), "other bytes than the manifest"),
        (rewritten, newer, "newer: upgrade first"),
        (rewritten, without, "is missing"),
    ]
    for make, change, words in broken:
        with pytest.raises(StartError, match=words):
            restore(elsewhere, make(tmp_path / "b.tar", change))
        assert list(elsewhere.artifacts.idle(-60)) == []
    cut = tmp_path / "cut.tar"
    cut.write_bytes((tmp_path / "b.tar").read_bytes()[: (tmp_path / "b.tar").stat().st_size // 2])
    with pytest.raises(StartError, match="damaged or cut short"):
        restore(elsewhere, cut)
    assert list(elsewhere.artifacts.idle(-60)) == []
    assert not sa.inspect(connect(elsewhere.database_url).kw["bind"]).get_table_names()


def test_a_damaged_artifact_is_no_backup(source: Deployment, tmp_path: Path) -> None:
    name = max(source.artifacts.idle(-60), key=lambda each: source.artifacts.path(each).stat().st_size)
    path = source.artifacts.path(name)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StartError, match="damaged in the storage"):
        backup(source, tmp_path / "b.tar")
    assert not list(tmp_path.glob("*.tar*"))


def test_a_home_by_command(source: Deployment, tmp_path: Path, place: Path) -> None:
    """Into a new home, from a shell; and out of it, while nothing runs there."""
    backup(source, place / "b.tar")
    (place / "b.tar").chmod(0o644)

    def lookahead(*words: str, status: int = 0) -> str:
        ours = {"DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL"}
        environment = {k: v for k, v in os.environ.items() if k not in ours} | {"PYTHONPATH": str(Path.cwd())}
        done = subprocess.run(
            [sys.executable, "-m", "embedded.cli", *words], cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    assert "There is no database" in lookahead("backup", "none.tar", status=1)
    assert "Restored 5 label events" in lookahead("restore", "b.tar", "--home", str(place / "home"))
    assert "not empty" in lookahead("restore", "b.tar", "--home", str(place / "home"), status=1)
    assert "is complete: 5 label events" in lookahead("backup", "again.tar", "--home", str(place / "home"))
    assert "Removed 0 artifacts" in lookahead("gc", "--home", str(place / "home"))
    with opened(place / "home", {}) as home:
        here, there = rows(source.database_url), rows(home.database_url)
        with pytest.raises(StartError, match="already runs"), opened(place / "home", {}, to_write=True):
            pass
        with opened(place / "home", {}) as running:  # what runs is used as it is
            assert running.database_url == home.database_url
    for table in (LabelEvent, Suggestion):
        assert there[table.__tablename__] == here[table.__tablename__]


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
