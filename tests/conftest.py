"""Real PostgreSQL and Valkey for the whole run; a fresh database, queue and artifact folder for each test."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient

from embedded.servers import Postgres, Valkey
from migrations.__main__ import upgrade
from service.app import create_app
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import Sessions, connect
from tests.api import Api
from worker import queue
from worker.context import Context
from worker.live_states import LiveStates


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
def _template(postgres: Postgres) -> str:
    with administrator(postgres) as connection:
        connection.execute("CREATE DATABASE template_lookahead")
    upgrade(database(postgres, "template_lookahead"))
    return "template_lookahead"


def administrator(postgres: Postgres) -> "psycopg.Connection[Any]":
    url = sa.make_url(postgres.url)
    return psycopg.connect(host=str(url.query["host"]), user="app", dbname="postgres", autocommit=True)


def database(postgres: Postgres, name: str) -> str:
    return sa.make_url(postgres.url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database_url(postgres: Postgres, _template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with administrator(postgres) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_template}")
    yield database(postgres, name)
    with administrator(postgres) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


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
