"""Items from what people have, in a whole service: created, sent in parts, gone on with, labeled."""

import asyncio
import io
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

from api_schemas.suggest import Suggestion
from client.aio.sdk import AsyncClient
from client.cli import app
from client.errors import ApiError
from client.label_loop import Labeled
from client.sdk import Client
from client.sources import parts
from client.sources.parts import SourceError
from embedded.supervisor import Supervisor

X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
KINDS = ["ant", "bee", "cow"]


@pytest.fixture
def name() -> str:
    return f"p-{uuid.uuid4().hex[:8]}"


def table(path: Path, rows: int = 30, label: str = "kind") -> Path:
    lines = [f"i{k},{k}.5,{k % 7},{'north' if k % 2 else 'south'},{KINDS[k % 3] if k < 9 else ''}" for k in range(rows)]
    path.write_text("\n".join([f"id,a,b,site,{label}", *lines]) + "\n")
    return path


def test_a_project_from_a_table(client: Client, name: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = table(tmp_path / "t.csv", label="label")
    done = client.add_items(name, path, create=True, send_labels=True, on_items=lambda *now: seen.append(now))
    assert (done.added, done.items, done.labels, done.classes) == (30, 30, 9, KINDS)
    assert seen == [(30, None)]
    project = client.project(name)
    assert (project.labels, project.input_shape) == (9, [2])
    assert len(list(client.items(name, where={"site": "north"}))) == 15
    assert client.item(name, "i4").label == "bee"


def test_going_on_where_it_broke_off(client: Client, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 10)
    monkeypatch.setattr(parts, "PART_BYTES", 1)
    whole = pa.table({"id": [f"i{k}" for k in range(30)], "a": X[:, 0], "b": X[:, 1], "label": KINDS * 10})
    batches = pa.Table.from_batches(whole.to_batches(max_chunksize=10))
    client.create_project(name, KINDS)
    monkeypatch.setattr(
        "client.sources.tables._cut", lambda batch, _: (batch.slice(k, 10) for k in range(0, len(batch), 10))
    )

    def stop(done: int, _: int | None) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.add_items(name, batches, send_labels=True, on_items=stop)
    assert client.project(name).items == 20
    with pytest.raises(ApiError) as refused:
        client.add_items(name, batches)
    assert refused.value.code == "duplicate_id"
    done = client.add_items(name, batches, send_labels=True, go_on=True)
    assert (done.added, done.passed_over, done.items) == (10, 20, 30)
    assert len(list(client.label_log(name))) == 30
    assert [item.item for item in client.items(name)] == [f"i{k}" for k in range(30)]


def held_out_labels(client: Client, name: str) -> int:
    found = client.diagnostics(name).held_out
    return 0 if found is None else found.labels


def test_labels_of_held_out_items(client: Client, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "t.csv", label="label")
    done = client.add_items(name, path, create=True, send_labels=True, held_out=True)
    assert (done.added, done.labels, done.classes) == (30, 9, KINDS)
    project = client.project(name)
    assert (project.held_out, project.labels) == (30, 0)
    assert held_out_labels(client, name) == 9
    monkeypatch.setattr("client.pool_calls.HELD_OUT_LABELS_MAX", 2)  # in requests of what one may hold
    more, kinds = [f"more-{k}" for k in range(5)], ["ant", None, "bee", "cow", "ant"]
    assert client.add_items(name, X[:5, :2], held_out=True, ids=more, labels=kinds).labels == 4
    assert held_out_labels(client, name) == 13

    async def again() -> int:  # after an interruption
        async with AsyncClient(client.url) as other:
            return (await other.add_items(name, path, send_labels=True, held_out=True, go_on=True)).passed_over

    assert asyncio.run(again()) == 30
    assert held_out_labels(client, name) == 13
    (tmp_path / "u.csv").write_text("id,a,b,label\nu,1,2,ant\n")
    command = ["pool", "add", name, str(tmp_path / "u.csv"), "--labels", "--held-out", "--url", client.url]
    said = CliRunner().invoke(app, command)
    assert (said.exit_code, said.output.splitlines()[-1]) == (
        0,
        "Added 1 items; the pool has 36. Recorded 1 labels of held-out items.",
    )
    assert [event.item for event in client.label_log(name)] == []


def test_labels_that_are_no_classes(client: Client, name: str, tmp_path: Path) -> None:
    client.create_project(name, ["ant", "bee"])
    path = table(tmp_path / "t.csv")
    with pytest.raises(SourceError, match=r"t.csv: item 'i2' is labeled 'cow', .* \(ant, bee\): --add-classes"):
        client.add_items(name, path, send_labels=True, label_column="kind")
    assert client.project(name).items == 0
    done = client.add_items(name, path, send_labels=True, label_column="kind", add_classes=True)
    assert (done.labels, done.classes) == (9, KINDS)
    with pytest.raises(SourceError, match=r"no labels.*--classes a,b"):
        client.add_items(f"{name}-2", X, create=True)
    with pytest.raises(ApiError):
        client.project(f"{name}-2")


def test_arrays_with_labels_and_files_as_they_are(client: Client, name: str, tmp_path: Path) -> None:
    done = client.add_items(name, X, create=True, labels=[KINDS[k % 3] if k < 5 else None for k in range(30)])
    assert (done.labels, done.classes) == (5, KINDS)
    assert client.item(name, "1").label == "bee"
    np.savez(tmp_path / "more.npz", x=X[:3], ids=["a", "b", "c"])
    assert client.add_items(name, tmp_path / "more.npz").items == 33
    np.save(tmp_path / "more.npy", X[:2])
    assert client.add_items(name, tmp_path / "more.npy").items == 35
    assert client.add_items(name, X[:2]).items == 37
    assert client.item(name, "36").position == 36


def test_a_loop_with_a_skip(client: Client, name: str) -> None:
    client.add_items(name, X, create=True, classes=KINDS)
    turns: list[Labeled] = []

    def annotate(suggestion: Suggestion) -> str | None:
        return None if not turns else KINDS[int(suggestion.item) % 3]

    client.label_loop(name, annotate, labels=6, train_every=3, on_label=turns.append, epochs=2)
    project = client.project(name)
    assert (project.labels, project.skips, len(turns)) == (5, 1, 6)
    assert [turn.label is None for turn in turns] == [True, *[False] * 5]
    assert [job.kind for job in client.jobs(name)].count("train") == 3


def test_the_loop_without_blocking(running: Supervisor, name: str) -> None:
    async def annotate(suggestion: Suggestion) -> str:
        await asyncio.sleep(0)
        return KINDS[int(suggestion.item) % 3]

    async def work() -> int:
        async with AsyncClient(running.url) as client:
            await client.add_items(name, X[:4], create=True, classes=KINDS)
            return (await client.label_loop(name, annotate, strategy="random")).labels

    assert asyncio.run(work()) == 4  # and then nothing is left


def test_names_of_columns_arrive(running: Supervisor, client: Client, name: str, tmp_path: Path) -> None:
    client.add_items(name, table(tmp_path / "t.csv", label="label"), create=True, classes=KINDS)
    (shown,) = client.contents(name, ["i29"])
    assert (shown.names, shown.values) == (["a", "b"], [29.5, 1])
    assert shown.typical is not None
    assert shown.typical[0] > 0.95
    np.savez(tmp_path / "more.npz", x=X[:2, :2], ids=["m", "n"], columns=["a", "b"], y=[0, 1])
    assert client.add_items(name, tmp_path / "more.npz").items == 32
    np.savez(tmp_path / "other.npz", x=X[:2, :2], ids=["o", "p"], columns=["b", "a"])
    with pytest.raises(ApiError, match="another order"):
        client.add_items(name, tmp_path / "other.npz")
    printed = CliRunner().invoke(app, ["items", "contents", name, "i29", "--url", running.url]).output
    assert "a 29.5" in printed
    assert "b 1" in printed


def test_texts_and_pictures_are_kept_to_show(client: Client, name: str, tmp_path: Path) -> None:
    done = client.add_items(name, ["good day", "bad day", "x" * 30_000], create=True, labels=["good", "bad", None])
    assert (done.items, done.labels) == (3, 2)
    assert client.project(name).input_shape == [1024]
    assert [content.text for content in client.contents(name, ["0", "1"])] == ["good day", "bad day"]
    frame = pa.table({"text": ["one more"], "site": ["north"]})
    assert client.add_items(name, frame).items == 4
    assert client.item(name, "3").attributes == {"site": "north"}
    pictures = f"{name}-pictures"
    for kind in ("cats", "dogs"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (700, 300), (0, 90, 0)).save(tmp_path / kind / "a b.png")
        Image.new("L", (20, 30), 9).save(tmp_path / kind / "ü.bmp")
    assert client.add_items(pictures, tmp_path, create=True, send_labels=True).labels == 4
    (shown,) = client.contents(pictures, ["cats/a b.png"])
    assert shown.kind == "image"
    width, height = Image.open(io.BytesIO(client.picture(pictures, "dogs/ü.bmp"))).size
    assert width * 3 == height * 2


def test_a_refused_upload_leaves_no_project_and_an_empty_one_is_gone_on_with(
    client: Client, name: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("id,a,b\nx,1,2\ny,,4\n")
    with pytest.raises(SourceError, match="row 2, column 'a'"):
        client.add_items(name, tmp_path / "t.csv", create=True, classes=["a", "b"])
    (tmp_path / "l.csv").write_text("id,a,label\nx,1,c\n")
    with pytest.raises(SourceError, match="no class"):
        client.add_items(name, tmp_path / "l.csv", create=True, classes=["a", "b"], send_labels=True)
    with pytest.raises(ApiError, match="project"):
        client.project(name)
    (tmp_path / "twice.csv").write_text("id,a,b\nx,1,2\nx,3,4\n")
    with pytest.raises(ApiError):  # the service refuses it once the project is there
        client.add_items(name, tmp_path / "twice.csv", create=True, classes=["a", "b"])
    with pytest.raises(ApiError) as other:
        client.add_items(name, tmp_path / "t.csv", create=True, classes=["a", "c"], fill=0)
    assert other.value.code == "project_exists"
    assert client.add_items(name, tmp_path / "t.csv", create=True, classes=["a", "b"], fill=0).items == 2
    with pytest.raises(ApiError) as again:
        client.add_items(name, tmp_path / "t.csv", create=True, classes=["a", "b"], fill=0)
    assert again.value.code == "project_exists"
