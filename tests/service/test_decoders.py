"""Decoding processes: how many there are, who waits for them, and what is left of them."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import ServiceSettings
from service.uploads import decoders
from tests.decoders import ORDER
from tests.pictures import encoded, noise, zipped
from tests.service.streams import Serving, serving
from tests.service.test_events import until

UPLOAD = {"file": ("pool.zip", zipped(a=encoded(noise(8, 8))))}


@pytest.fixture
def served(settings: ServiceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """A service whose decoders never come to an end, and say which they are."""
    stuck = tmp_path / "python"
    stuck.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/$$.pid\nexec sleep 300\n")
    stuck.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(stuck))
    with serving(create_app(settings)) as made:
        yield made


def ask(served: Serving, method: str, path: str, **more: Any) -> httpx.Response:
    return httpx.request(method, served.url + path, trust_env=False, timeout=30, **more)


def in_background(work: Callable[[], object], times: int) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(times)]
    for thread in threads:
        thread.start()
    return threads


def test_uploads_that_wait_leave_threads_for_everybody_else(served: Serving, tmp_path: Path) -> None:
    before = {*threading.enumerate()}
    ask(served, "POST", "/projects", json={"name": "p", "classes": ["a", "b"]}).raise_for_status()
    most = decoders.AT_ONCE + decoders.WAITING_MAX
    answers: list[int | None] = []

    def send() -> None:
        try:
            answers.append(ask(served, "POST", "/projects/p/pool", files=UPLOAD).status_code)
        except httpx.TransportError:
            answers.append(None)

    threads = in_background(send, 45)
    until(lambda: len(answers) == 45 - most)
    assert set(answers) == {429}
    assert ask(served, "GET", "/projects/p").status_code == 200
    until(lambda: len(list(tmp_path.glob("*.pid"))) == decoders.AT_ONCE)
    refused = ask(served, "POST", "/projects/p/pool", files=UPLOAD)
    assert refused.json()["code"] == "too_many_uploads"
    assert int(refused.headers["retry-after"]) > 0
    # The service stops soon, though none of them would have ended for minutes, and leaves nothing behind.
    served.server.config.timeout_graceful_shutdown = 1
    assert served.stop() < 6
    for thread in threads:
        thread.join(10)
    found = [int(file.stem) for file in tmp_path.glob("*.pid")]
    assert len(found) == decoders.AT_ONCE
    until(lambda: not [pid for pid in found if Path(f"/proc/{pid}").exists()], 5)
    until(lambda: not {*threading.enumerate()} - before, 5)


def test_a_decoder_whose_service_died_before_it_began_does_nothing() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(UPLOAD["file"][1])
        order = replace(ORDER, size=1 << 10, array=file.fileno(), contents=file.fileno(), lines=file.fileno())
        for parent, status in ((os.getpid(), 0), (1, 1)):
            command = [sys.executable, "-m", "service.decoding", json.dumps(asdict(replace(order, parent=parent)))]
            done = subprocess.run(command, stdin=file, pass_fds=(file.fileno(),), capture_output=True)
            assert done.returncode == status
    assert b"nobody waits" in done.stderr
