"""Engine and sessions. Callers inject the sessionmaker and open one transaction per operation."""

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

Sessions = sessionmaker[Session]


def psycopg_url(url: str) -> sa.URL:
    """The URL with the psycopg 3 driver, whichever way PostgreSQL was spelled."""
    parsed = sa.make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def connect(url: str, *, pool_size: int = 10) -> Sessions:
    """A sessionmaker over a connection pool; nothing is opened before the first use."""
    engine = sa.create_engine(
        psycopg_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=False,
        pool_timeout=30,
        # The same few statements run on every request: let the server keep their plans.
        connect_args={"prepare_threshold": 3, "application_name": "lookahead"},
    )
    return sessionmaker(engine, expire_on_commit=False)


def relax_durability(session: Session) -> None:
    """Let this commit not wait for the disk: for rows that can be made again, never for labels."""
    session.execute(sa.text("SET LOCAL synchronous_commit = off"))
