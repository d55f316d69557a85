"""Real PostgreSQL and Valkey for the whole run; a fresh database, queue and artifact folder for each test."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from embedded.servers import Postgres, Valkey
from service.app import create_app
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import Sessions, connect
from tests.api import Api
from tests.databases import Databases, administrator
from worker import queue
from worker.context import Context
from worker.live_states import LiveStates

# In a parallel run what shares something costly to start runs in one process,
TOGETHER = ("tests/browser/", "tests/client/test_", "tests/docs/test_site.py", "tests/test_dashboard_sources.py")
# and what takes longest begins first, or all others would wait for it at the end.
FIRST = (
    "tests/docs/test_snippets.py",
    "tests/test_architecture.py",
    "tests/test_demo.py",
    "tests/benchmarks/test_soak.py",
)


class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Each test on its own, but for those that belong together."""

    def _split_scope(self, nodeid: str) -> str:
        return next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TogetherScheduling:
    return TogetherScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lh-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(home: Path) -> Iterator[Postgres]:
    with Postgres(home) as server:
        with administrator(server) as connection:
            # Nothing outlives the run: what a real disk costs is not what these tests are about.
            for setting in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture(scope="session")
def valkey(home: Path) -> Iterator[Valkey]:
    with Valkey(home) as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres: Postgres) -> Databases:
    return Databases(postgres)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    name = databases.take()
    yield databases.url(name)
    databases.give_back(name)


@pytest.fixture
def settings(database_url: str, valkey: Valkey, tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(
        database_url=database_url, redis_url=valkey.url, artifacts_url=f"file://{tmp_path}/artifacts"
    )


@pytest.fixture
def sessions(settings: ServiceSettings) -> Iterator[Sessions]:
    made = connect(settings.database_url)
    yield made
    made.kw["bind"].dispose()


@pytest.fixture
def app(settings: ServiceSettings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def api(app: FastAPI) -> Iterator[Api]:
    with TestClient(app, raise_server_exceptions=False) as client:
        app.state.context.redis.flushdb()
        yield Api(client)


@pytest.fixture
def new_context(settings: ServiceSettings) -> Iterator[Callable[[], Context]]:
    """Makes worker contexts, as many as workers are wanted."""
    made: list[Context] = []

    def make() -> Context:
        context = Context(
            sessions=connect(settings.database_url),
            redis=queue.connect(settings.redis_url),
            artifacts=Artifacts(settings.artifacts_url),
            device=torch.device("cpu"),
            live=LiveStates(1 << 30),
            name=f"worker-{len(made)}",
        )
        made.append(context)
        return context

    yield make
    for context in made:
        context.stopping.set()
        context.redis.close()
        context.sessions.kw["bind"].dispose()


@pytest.fixture
def worker(new_context: Callable[[], Context]) -> Context:
    return new_context()
