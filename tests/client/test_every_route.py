"""Whatever the service can do, the SDK and the command line can: every route of the schema is reached from both."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from client.errors import LookaheadError
from client.sdk import Client
from embedded.cli import app
from tests.api import vectors
from tests.client.routes import noting

CALLS: list[Callable[[Client], Any]] = [
    lambda c: c.alive(),
    lambda c: c.ready(),
    lambda c: c.metrics(),
    lambda c: c.create_project("p", ["a", "b"]),
    lambda c: list(c.projects()),
    lambda c: c.project("p"),
    lambda c: c.set_labeling("p", "latest"),
    lambda c: c.add_classes("p", ["c"]),
    lambda c: list(c.curve("p")),
    lambda c: c.diagnostics("p"),
    lambda c: c.held_out_labels("p", {"i": "a"}),
    lambda c: c.workers(),
    lambda c: list(c.events("p")),
    lambda c: list(c.items("p")),
    lambda c: c.item("p", "i"),
    lambda c: c.contents("p", ["i"]),
    lambda c: c.picture("p", "i"),
    lambda c: c.set_attributes("p", {"i": {"k": 1}}),
    lambda c: c.upload_pool("p", vectors(2)),
    lambda c: c.upload_checkpoint("p", b"weights", "mlp"),
    lambda c: c.train("p"),
    lambda c: c.label("p", "i", "a"),
    lambda c: c.labels("p", [("i", "a")]),
    lambda c: list(c.label_log("p")),
    lambda c: c.suggest("p"),
    lambda c: c.renew_leases("p", "ann"),
    lambda c: c.release_leases("p", "ann"),
    lambda c: list(c.leases("p")),
    lambda c: c.predictions("p", ["i"]),
    lambda c: c.strategies(),
    lambda c: c.jobs(),
    lambda c: c.job("job-1"),
    lambda c: c.cancel("job-1"),
    lambda c: list(c.job_events("job-1")),
    lambda c: c.connect_label_studio("p", "http://there", "token", 1),
    lambda c: c.label_studio_connections(),
    lambda c: c.sync_label_studio("abc"),
    lambda c: c.disconnect_label_studio("abc"),
    lambda c: c.create_key("n", ["read"]),
    lambda c: list(c.keys()),
    lambda c: c.rotate_key("0123"),
    lambda c: c.revoke_key("0123"),
    lambda c: list(c.audit()),
    lambda c: c.upload_limits(),
    lambda c: c.upload_limits("abc"),
    lambda c: c.upload_offset("abc"),
    lambda c: c.discard_upload("abc"),
    lambda c: c.delete_project("p"),
]
COMMANDS = """
status
ping
metrics
project create p --classes a,b
project list
project show p
project labeling p latest
project classes add p c
project curve p
project diagnostics p
project held-out-labels p labels.csv
workers
queues
events
events p
items list p
items show p i
items set p i k=1
items contents p i
items picture p i i.png
pool add p x.npy
checkpoint add p w.safetensors
train p
label p i a
labels import p labels.csv
labels log p
suggest p
leases renew p ann
leases release p ann
leases list p
predictions p i --json
strategies
jobs list --kind train
jobs show job-1
jobs cancel job-1
jobs events job-1
watch p
label-studio list
label-studio sync abc
label-studio disconnect abc
key create --name n --scope read
key list
key rotate 0123
key revoke 0123
audit
uploads limits
uploads limits abc
uploads send w.safetensors
uploads show abc
uploads discard abc
project delete p --yes
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", vectors(2))
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    (tmp_path / "labels.csv").write_text("item,label\ni,a\n")


@pytest.mark.usefixtures("files")
def test_the_sdk_reaches_every_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.resumable._PAUSE_SECONDS", 0.0)
    with noting(monkeypatch) as noted, Client("http://here") as client:
        for call in CALLS:
            with suppress(LookaheadError):
                call(client)
        with suppress(LookaheadError):
            client.send_file("w.safetensors")
    assert noted.missing() == []


@pytest.mark.usefixtures("files")
def test_the_command_line_reaches_every_route(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    with noting(monkeypatch) as noted:
        for words in COMMANDS.strip().splitlines():
            done = runner.invoke(app, [*words.split(), "--url", "http://here"])
            assert done.exit_code in {0, 1}, (words, done.output, done.exception)
    # `label-studio connect` asks Label Studio first: a test of its own has both.
    assert set(noted.missing()) <= {"POST /label-studio"}


def test_what_is_not_reached_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with noting(monkeypatch) as noted, Client("http://here") as client:
        with suppress(LookaheadError):
            client.item("p", "a/b c")
        missing = noted.missing()
    assert "GET /projects/{name}/items/{item}" not in missing
    assert {"POST /label", "GET /jobs", "PATCH /uploads/{upload_id}"} <= set(missing)
