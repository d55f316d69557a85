"""Alembic's entry: one connection, one transaction, one migrator at a time."""

import sqlalchemy as sa
from alembic import context

from store.database import psycopg_url
from store.tables import Base

# Any constant will do: it names the lock that keeps two migrators apart.
_LOCK = 0x10CA


def run() -> None:
    engine = sa.create_engine(psycopg_url(context.config.attributes["database_url"]), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            context.run_migrations()


run()
