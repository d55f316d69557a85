"""Deleting a project from a program and from a terminal, in a whole service whose workers clean up by themselves."""

import json
import os
import pty
import subprocess
import time
import uuid

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.errors import ApiError
from client.sdk import Client
from embedded.supervisor import Supervisor
from tests.api import vectors
from tests.client.typed import LOOKAHEAD


def typed(url: str, name: str, answer: str) -> tuple[int, str]:
    """(exit status, what it said) of a command at a terminal where somebody types an answer."""
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, f"{answer}\n".encode())
        done = subprocess.run(
            [LOOKAHEAD, "project", "delete", name, "--url", url],
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_project_goes_and_with_it_what_it_kept(running: Supervisor, client: Client) -> None:
    name = f"p-{uuid.uuid4().hex[:8]}"
    seed = uuid.uuid4().int % 2**32

    def files() -> set[str]:
        return {path.name for path in (running.home / "artifacts").rglob("*") if path.is_file()}

    before = files()
    client.create_project(name, ["a", "b"])
    client.upload_pool(name, vectors(20, seed=seed))
    client.label(name, "1", "a")
    mine = files() - before
    assert mine
    refused = CliRunner().invoke(app, ["project", "delete", name, "--url", running.url])
    assert refused.exit_code == 1
    assert "is not deleted: there is no terminal to ask at; --yes" in refused.stderr
    status, said = typed(running.url, name, "y")
    assert status == 1
    assert "20 items, 1 of them labeled" in said
    assert f"project {name} is not deleted" in said
    assert client.project(name).labels == 1
    status, said = typed(running.url, name, name)
    assert (status, f"Project {name} is deleted: 20 items, 1 of them labeled" in said) == (0, True), said
    with pytest.raises(ApiError) as gone:
        client.project(name)
    assert gone.value.code == "unknown_project"
    deadline = time.monotonic() + 20
    while mine & files():
        assert time.monotonic() < deadline
        time.sleep(0.05)

    client.create_project(name, ["a", "b"])
    words = ["project", "delete", name, "--yes", "--json", "--url", running.url]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, json.loads(done.stdout)["project"]) == (0, name)
    client.create_project(name, ["a", "b"])
    assert client.delete_project(name).items == 0
    missing = CliRunner().invoke(app, words)
    assert missing.exit_code == 1
    assert "unknown_project" in missing.stderr
