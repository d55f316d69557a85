"""A project with a pool, and the means to say that nothing in the database has changed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from embedded.servers import Valkey
from service.app import create_app
from service.settings import ServiceSettings
from store.database import Sessions, connect
from store.tables import Base
from tests.api import Api
from tests.databases import Databases
from tests.service.keyed import Keyed, keyed_service
from worker import queue


def contents(sessions: Sessions) -> dict[str, list[Any]]:
    """Every row of every table."""
    with sessions.begin() as session:
        return {
            table.name: [tuple(row) for row in session.execute(sa.select(table).order_by(*table.primary_key))]
            for table in Base.metadata.sorted_tables
        }


@pytest.fixture
def keyed(settings: ServiceSettings, sessions: Sessions) -> Iterator[Keyed]:
    """A service with keys on, on an empty Redis."""
    with queue.connect(settings.redis_url) as redis:
        redis.flushdb()
    with keyed_service(settings, sessions) as made:
        yield made


@pytest.fixture(scope="module")
def shared_settings(
    databases: Databases, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceSettings]:
    """One database and one folder for a module whose many tests change nothing that matters to the others."""
    name = databases.take()
    folder: Path = tmp_path_factory.mktemp("shared")
    yield ServiceSettings(
        database_url=databases.url(name),
        redis_url=valkey.url,
        artifacts_url=f"file://{folder}/artifacts",
        max_open_uploads=20,
        max_upload_bytes=64 << 20,
        max_open_upload_bytes=1 << 30,
    )
    databases.give_back(name)


@pytest.fixture(scope="module")
def shared_app(shared_settings: ServiceSettings) -> FastAPI:
    return create_app(shared_settings)


@pytest.fixture(scope="module")
def shared(shared_app: FastAPI) -> Iterator[Api]:
    """A service with the project `p`, which has a pool of 30 items of 6 numbers."""
    with TestClient(shared_app, raise_server_exceptions=False) as client:
        api = Api(client)
        api.project()
        api.pool()
        yield api


@pytest.fixture(scope="module")
def ready(shared: Api, shared_settings: ServiceSettings) -> Iterator[Callable[[], None]]:
    """Call the result to check that nothing has changed in the database."""
    assert shared.get("/projects/p").json()["items"] == 30
    sessions = connect(shared_settings.database_url)
    before = contents(sessions)

    def unchanged() -> None:
        assert contents(sessions) == before

    yield unchanged
    sessions.kw["bind"].dispose()
