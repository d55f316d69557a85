"""Databases for tests: made from one that is migrated, emptied after a test and used again.

Making and dropping one writes and removes hundreds of files; emptying one costs little.
"""

import uuid
from typing import Any

import psycopg
import sqlalchemy as sa

from embedded.servers import Postgres
from migrations.__main__ import upgrade

_TEMPLATE = "template_lookahead"
# Changes when a table, an index or a sequence is made, dropped or renamed.
_SHAPE = """
SELECT md5(string_agg(relname || ':' || oid, ',' ORDER BY oid)) FROM pg_class
WHERE relnamespace = 'public'::regnamespace
"""
# Row by row where there are few; triggers and foreign keys look away.
_EMPTY = """
DO $$
DECLARE
    part record;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR part IN
        SELECT oid::regclass AS name, pg_relation_size(oid) AS size FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
    LOOP
        IF part.size > 1000000 THEN
            EXECUTE format('TRUNCATE %s CASCADE', part.name);
        ELSIF part.size > 0 THEN
            EXECUTE format('DELETE FROM %s', part.name);
        END IF;
    END LOOP;
    PERFORM setval(oid::regclass, 1, false) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'S';
END $$
"""


class Databases:
    """Those of one server."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._idle: list[str] = []
        with administrator(postgres) as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        upgrade(self.url(_TEMPLATE))
        self._shape = self._made()

    def _made(self) -> str:
        name = self.new()
        self._idle.append(name)
        with administrator(self._postgres, name) as connection:
            return str(connection.execute(_SHAPE).fetchone())

    def url(self, name: str) -> str:
        """Where a database is."""
        return sa.make_url(self._postgres.url).set(database=name).render_as_string(hide_password=False)

    def new(self) -> str:
        """The name of a fresh database with all tables."""
        name = _name()
        with administrator(self._postgres) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return name

    def take(self) -> str:
        """The name of an empty database with all tables, which may have been used before."""
        return self._idle.pop() if self._idle else self.new()

    def give_back(self, name: str) -> None:
        """Empty it for the next; one that is not what it was is dropped. Whoever still knows its name finds nothing."""
        with administrator(self._postgres) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            fresh = _name()
            connection.execute(f"ALTER DATABASE {name} RENAME TO {fresh}")
            connection.execute(f"ALTER DATABASE {fresh} ALLOW_CONNECTIONS true")
        with administrator(self._postgres, fresh) as connection:
            as_it_was = str(connection.execute(_SHAPE).fetchone()) == self._shape
            if as_it_was:
                connection.execute(_EMPTY)
        if as_it_was:
            self._idle.append(fresh)
        else:
            self.drop(fresh)

    def drop(self, name: str) -> None:
        """For good, whoever is connected."""
        with administrator(self._postgres) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def administrator(postgres: Postgres, database: str = "postgres") -> "psycopg.Connection[Any]":
    """A connection that may do everything, each statement on its own."""
    url = sa.make_url(postgres.url)
    return psycopg.connect(host=str(url.query["host"]), user="app", dbname=database, autocommit=True)


def _name() -> str:
    return f"test_{uuid.uuid4().hex}"
