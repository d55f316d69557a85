"""A project with a pool, and the means to say that nothing in the database has changed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from service.settings import ServiceSettings
from store.database import Sessions
from store.tables import Base
from tests.api import Api
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
def ready(api: Api, sessions: Sessions) -> Callable[[], None]:
    """A project with a pool; call the result to check that nothing has changed since."""
    api.project()
    api.pool()
    before = contents(sessions)

    def unchanged() -> None:
        assert contents(sessions) == before

    return unchanged


@pytest.fixture
def keyed(settings: ServiceSettings, sessions: Sessions) -> Iterator[Keyed]:
    """A service with keys on, on an empty Redis."""
    with queue.connect(settings.redis_url) as redis:
        redis.flushdb()
    with keyed_service(settings, sessions) as made:
        yield made
