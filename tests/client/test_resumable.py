"""Big files go in parts and on from where a lost connection left off; other clients of the protocol get on too."""

import io
import uuid
from pathlib import Path

import numpy as np
import pytest
from tusclient.client import TusClient
from typer.testing import CliRunner

from client import resumable, transport, waiting
from client.cli import app
from client.errors import ApiError, InterruptedUploadError
from client.sdk import Client
from client.transport import Transport
from embedded.supervisor import Supervisor
from tests.api import names, vectors, weights
from tests.client.relay import Relay, relaying
from tests.factories import mlp


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few kilobytes count as big."""
    monkeypatch.setattr(resumable, "BIG", 1000)
    monkeypatch.setattr(resumable, "PART", 4000)
    monkeypatch.setattr(waiting, "BLOCK", 500)
    monkeypatch.setattr(resumable, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(transport, "PAUSES", (0.01,))


@pytest.fixture
def project(client: Client) -> str:
    name = f"p-{uuid.uuid4().hex[:8]}"
    client.create_project(name, ["a", "b", "c"])
    return name


class Cutting(Relay):
    """Hangs up `times` times once it has passed on more than `after` bytes."""

    def __init__(self, url: str, after: int, times: int) -> None:
        super().__init__(url)
        self.after, self.times = after, times
        self.passed = self.cuts = 0

    def passes(self, data: bytes) -> bool:
        if self.passed > self.after and self.cuts < self.times:
            self.cuts += 1
            return False
        self.passed += len(data)
        return True


@pytest.mark.usefixtures("small")
def test_a_pool_and_a_checkpoint_in_parts(client: Client, project: str) -> None:
    told: list[tuple[int, int]] = []
    added = client.upload_pool(project, vectors(500), names(500), on_bytes=lambda *now: told.append(now))
    assert added.added == 500
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)
    assert told[-1][0] == told[-1][1] > 12_000
    assert len(told) > 20
    job = client.upload_checkpoint(project, weights(mlp(6, [16, 8], 3)), "mlp", {"hidden": [16, 8]})
    assert client.wait_for(job).status == "succeeded"


@pytest.mark.usefixtures("small")
def test_lost_connections_cost_a_part_at_most(running: Supervisor, client: Client, project: str) -> None:
    x = vectors(500)
    with relaying(Cutting(running.url, after=6000, times=3)) as relay, Client(relay.url) as relayed:
        assert relayed.upload_pool(project, x, names(500)).items == 500
    assert relay.cuts == 3
    assert [item.item for item in client.items(project)] == names(500)


@pytest.mark.usefixtures("small")
def test_going_on_by_hand(running: Supervisor, client: Client, project: str, tmp_path: Path) -> None:
    path = tmp_path / "pool.npy"
    np.save(path, vectors(500))
    with (
        relaying(Cutting(running.url, after=6000, times=10**6)) as relay,
        Client(relay.url) as relayed,
        pytest.raises(InterruptedUploadError, match="go on with upload") as caught,
    ):
        relayed.upload_pool(project, path)
    done = CliRunner().invoke(
        app, ["pool", "add", project, str(path), "--resume", caught.value.upload, "--url", running.url]
    )
    assert done.exit_code == 0, done.output
    assert client.project(project).items == 500
    with pytest.raises(ApiError) as gone:
        client.upload_pool(project, path, resume=caught.value.upload)
    assert gone.value.status == 404


@pytest.mark.usefixtures("small")
def test_the_command_line_says_how_to_go_on(running: Supervisor, project: str, tmp_path: Path) -> None:
    np.save(tmp_path / "pool.npy", vectors(500))
    with relaying(Cutting(running.url, after=6000, times=10**6)) as relay:
        done = CliRunner().invoke(app, ["pool", "add", project, str(tmp_path / "pool.npy"), "--url", relay.url])
    assert done.exit_code == 3
    assert "--resume" in done.stderr


def test_another_client_of_the_protocol(running: Supervisor) -> None:
    data = np.random.default_rng(0).bytes(300_000)
    uploader = TusClient(f"{running.url}/uploads").uploader(
        file_stream=io.BytesIO(data), chunk_size=100_000, metadata={"filename": "pool.npz"}
    )
    uploader.upload(stop_at=200_000)
    again = TusClient(f"{running.url}/uploads").uploader(
        file_stream=io.BytesIO(data), url=uploader.url, chunk_size=100_000
    )
    assert again.offset == 200_000
    again.upload()
    assert again.get_offset() == 300_000
    sending = Transport(running.url, None, 10.0)
    path = str(uploader.url).removeprefix(running.url)
    assert sending.send("DELETE", path, headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    sending.close()
