"""The SDK against a whole service: what a program does from an empty project to a labeled pool."""

import signal
import socket
import uuid
from pathlib import Path

import numpy as np
import pytest

from client.errors import ApiError, JobFailedError, UnreachableError
from client.sdk import Client
from embedded.process import wait_until
from embedded.supervisor import Supervisor
from tests import factories
from tests.api import archive, names, vectors, weights
from tests.pictures import encoded, noise, pixels
from tests.tables import parquet

HIDDEN = {"hidden": [16, 8]}


def prepared(client: Client, items: int = 30) -> str:
    project = f"p-{uuid.uuid4().hex[:8]}"
    client.create_project(project, ["a", "b", "c"], kernel={"dtype": "float64"})
    client.upload_pool(project, vectors(items), names(items))
    job = client.upload_checkpoint(project, weights(factories.mlp(6, [16, 8], 3)), "mlp", HIDDEN)
    seen: list[str] = []
    done = client.wait_for(job, lambda found: seen.append(found.status))
    assert seen[-1] == "succeeded"
    assert done.result is not None
    return project


def test_from_empty_to_labeled(client: Client, tmp_path: Path) -> None:
    project = prepared(client)
    answer = client.suggest(project, 2, annotator="ann")
    first, second = (entry.item for entry in answer.suggestions)
    assert client.label(project, first, "b", annotator="ann").seq == 1
    assert client.skip(project, second).skip
    assert client.label(project, first, None).label is None
    accepted = client.labels(project, [("item-1", "a"), ("item-2", 2)])
    assert (accepted.first_seq, accepted.last_seq) == (4, 5)
    (tmp_path / "more.csv").write_text("item,label\nitem-3,c\n")
    assert client.upload_labels(project, tmp_path / "more.csv").accepted == 1
    assert [event.kind for event in client.label_log(project)] == ["label", "skip", "withdraw", *["label"] * 3]
    assert client.suggest(project).label_seq == 6
    found = client.predictions(project, ["item-3", "item-1"])
    assert [(p.item, p.predicted) for p in found.predictions] == [("item-3", "c"), ("item-1", "a")]
    state = client.project(project)
    assert (state.labels, state.skips, state.items) == (3, 1, 30)
    assert client.add_classes(project, ["d"]).classes == ["a", "b", "c", "d"]
    client.label(project, "item-9", "d")
    assert client.predictions(project, ["item-9"]).predictions[0].predicted == "d"
    assert [point.labels for point in client.curve(project)][-1] == 4
    assert [point.label_seq for point in client.curve(project, 6)] == [7]
    assert project in [found.name for found in client.projects()]
    assert len(list(client.items(project, "labeled"))) == 4
    assert {strategy.name for strategy in client.strategies()} >= {"mlmoc", "random", "margin"}
    assert {job.kind for job in client.jobs(project)} == {"prepare", "suggest", "predict"}
    assert {job.kind for job in client.jobs(project, kind="prepare")} == {"prepare"}
    assert {job.kind for job in client.jobs(project, kind=["prepare", "predict"])} == {"prepare", "predict"}


def test_weights_as_arrays_and_a_repeated_event(client: Client) -> None:
    project = f"p-{uuid.uuid4().hex[:8]}"
    client.create_project(project, ["a", "b", "c"])
    client.upload_pool(project, vectors(10), names(10))
    arrays = {name: tensor.numpy() for name, tensor in factories.mlp(6, [16, 8], 3).state_dict().items()}
    client.wait_for(client.upload_checkpoint(project, arrays, "mlp", HIDDEN, loss="squared", kernel={"window": 5}))
    first = client.label(project, "item-1", "a", event_id="mine")
    assert client.label(project, "item-1", "a", event_id="mine").seq == first.seq
    assert client.withdraw(project, "item-1").seq == first.seq + 1
    assert client.suggest(project, 2, wait=0, seed=1, options={"why": 0}).label_seq == first.seq + 1


def test_leases(client: Client) -> None:
    project = prepared(client, 10)
    mine = [entry.item for entry in client.suggest(project, 3, annotator="ann", lease_seconds=60).suggestions]
    assert {held.item: held.annotator for held in client.leases(project)} == dict.fromkeys(mine, "ann")
    assert list(client.leases(project, "ben")) == []
    renewed = client.renew_leases(project, "ann", [*mine[:1], "item-9" if "item-9" not in mine else "item-8"])
    assert [end.item for end in renewed.leases] == mine[:1]
    assert len(renewed.expired) == 1
    assert client.release_leases(project, "ann", mine[:1]).released == mine[:1]
    assert sorted(client.release_leases(project, "ann").released) == sorted(mine[1:])


def test_ids_with_commas_and_quotes(client: Client) -> None:
    project = f"p-{uuid.uuid4().hex[:8]}"
    odd = ['a,b"c', "ü/ö ?&#%", " padded "]
    client.create_project(project, ["a", "b", "c"])
    client.upload_pool(project, vectors(3), odd)
    job = client.upload_checkpoint(project, weights(factories.mlp(6, [16, 8], 3)), "mlp", HIDDEN)
    client.wait_for(job)
    assert [p.item for p in client.predictions(project, odd).predictions] == odd
    assert client.label(project, odd[1], "a").item == odd[1]


def test_refusals_and_failures_are_typed(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        client.project("nowhere")
    assert (refused.value.code, refused.value.status) == ("unknown_project", 404)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with (
            Client(f"http://127.0.0.1:{unused.getsockname()[1]}") as nobody,
            pytest.raises(UnreachableError, match="lookahead up"),
        ):
            nobody.project("p")
    project = f"p-{uuid.uuid4().hex[:8]}"
    client.create_project(project, ["a", "b", "c"])
    x = vectors(4)
    client.upload_pool(project, x)
    module = factories.mlp(6, [16, 8], 3)
    for parameter in module.parameters():
        parameter.data.fill_(1e30)
    job = client.upload_checkpoint(project, weights(module), "mlp", HIDDEN)
    with pytest.raises(JobFailedError, match="finite"):
        client.wait_for(job)


def test_a_long_preparation_keeps_nobody_waiting(client: Client) -> None:
    small, large = prepared(client), f"p-{uuid.uuid4().hex[:8]}"
    client.create_project(large, ["a", "b", "c"], kernel={"window": "all"})
    client.upload_pool(large, vectors(5000, 200))
    wide = weights(factories.mlp(200, [1500, 1500], 3))
    job = client.upload_checkpoint(large, wide, "mlp", {"hidden": [1500, 1500]})
    assert wait_until(lambda: client.job(job.id).stage == "kernel", 30)
    for step in range(3):
        client.label(small, f"item-{step}", "a")
        assert client.suggest(small).label_seq == step + 1
    running = client.job(job.id)
    assert running.status == "running"
    assert 0 <= running.progress.done < running.progress.total
    client.cancel(job.id)
    assert wait_until(lambda: client.job(job.id).status == "cancelled", 30)


def test_labels_survive_killed_workers_and_a_killed_queue(client: Client, running: Supervisor) -> None:
    project = prepared(client, 40)
    for step in range(3):
        client.label(project, f"item-{step}", "a")
        for name in ("worker-interactive", "worker-bulk")[: 2 if step == 0 else 1]:
            process = running.child(name).process
            assert process is not None
            process.send_signal(signal.SIGKILL)
            process.wait()
            running._launch(running.child(name))
        if step == 1:
            valkey = next(server for server in running._servers if server.name == "valkey")
            assert valkey._process is not None
            valkey._process.kill()
            valkey._process.wait(30)
            valkey.start()
        assert client.suggest(project).label_seq == step + 1
    expected = client.predictions(project, [f"item-{k}" for k in range(3)])
    assert {p.predicted for p in expected.predictions} == {"a"}
    assert np.allclose([p.outputs[0] for p in expected.predictions], 1, atol=0.2)


def test_pictures_and_tables(client: Client, tmp_path: Path) -> None:
    project = f"p-{uuid.uuid4().hex[:8]}"
    client.create_project(project, ["a", "b"])
    (tmp_path / "pool.zip").write_bytes(archive({f"{k}.png": encoded(noise(20, 10, k)) for k in range(60)}))
    assert client.upload_pool(project, tmp_path / "pool.zip", image_size=8).input_shape == [3, 8, 8]
    asked = [f"{k}.png" for k in (3, 50, 7, *range(40))]
    contents = client.contents(project, asked)
    assert [content.item for content in contents] == asked
    assert {content.kind for content in contents} == {"image"}
    assert pixels(client.picture(project, "3.png", size=40)).shape == (40, 20, 3)
    with pytest.raises(ApiError) as caught:
        client.picture(project, "none")
    assert caught.value.code == "unknown_item"
    client.create_project(f"{project}-t", ["a", "b"])
    (tmp_path / "pool.parquet").write_bytes(parquet({"a": [1.0, 2.0], "site": ["north", "east"]}))
    client.upload_pool(f"{project}-t", tmp_path / "pool.parquet", attributes=True)
    assert [item.attributes for item in client.items(f"{project}-t")] == [{"site": "north"}, {"site": "east"}]
    assert client.contents(f"{project}-t", ["1"])[0].values == [2.0]
