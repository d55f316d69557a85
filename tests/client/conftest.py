"""A whole service on this machine: real servers, real workers, over HTTP."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.sdk import Client
from embedded.supervisor import Supervisor


@pytest.fixture(scope="session")
def running() -> Iterator[Supervisor]:
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        with Supervisor(Path(folder), port=0) as supervisor:
            yield supervisor


@pytest.fixture
def client(running: Supervisor) -> Iterator[Client]:
    with Client(running.url) as made:
        yield made
