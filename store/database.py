"""Engine and sessions. Callers inject the sessionmaker and open one transaction per operation."""

import select
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

Sessions = sessionmaker[Session]

# A server that vanished without a word is given up after about a quarter of a minute, not after hours.
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# SQLSTATE: connection exceptions, shutdowns and starts, too many connections, a full disk, deadlocks.
_AWAY = ("08", "57P", "53300", "53100", "40001", "40P01")
# Rows that a nested loop looks through in a moment, however often.
_FEW = 500


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
        # Errors are logged, and what people uploaded or labeled must not be.
        hide_parameters=True,
        # The same few statements run on every request: let the server keep their plans.
        connect_args={"prepare_threshold": 3, "application_name": "lookahead"} | _PATIENCE,
    )
    losses = Losses()
    event.listen(engine, "checkout", _still_connected)
    event.listen(engine, "invalidate", losses.count)
    return sessionmaker(engine, expire_on_commit=False, info={"losses": losses})


class Losses:
    """Counts the connections that the server has ended."""

    def __init__(self) -> None:
        self.number = 0

    def count(self, *_: object) -> None:
        """One more."""
        self.number += 1


def losses(session: Session) -> int:
    """How many connections the server has ended so far, as this process knows.

    When the number changes, the server may have come back without the commits that did not wait for its disk.
    """
    counted: Losses = session.info["losses"]
    return counted.number


def _still_connected(connection: Any, _: object, __: object) -> None:
    """Have a connection that the server has closed replaced before it is used.

    On an idle connection the server says nothing until it ends it, so one look at the socket tells, without the
    round trip of a test query.
    """
    poll = select.poll()
    try:
        poll.register(connection.fileno(), select.POLLIN)
        if not poll.poll(0):
            return
    except Exception as error:
        # psycopg has found it closed already.
        raise DisconnectionError("the connection is closed") from error
    raise DisconnectionError("the server has ended the connection")


def is_away(error: BaseException) -> bool:
    """Whether an error says that the database cannot work now, so that the same may well succeed later."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(error, OperationalError) and (state is None or state.startswith(_AWAY))


def connections(sessions: Sessions) -> dict[str, float]:
    """How many connections of the pool are in use, and how many lie idle."""
    pool = sessions.kw["bind"].pool
    return {"in_use": pool.checkedout(), "idle": pool.checkedin()}


def expect_rows(session: Session, count: int) -> None:
    """Let the rest of this transaction be planned for so many rows, whatever the tables held when last analyzed.

    Statistics know nothing of rows that have just come: a project's first 20,000 labels would be looked through 20,000
    times over, for minutes, with the project locked.
    """
    if count > _FEW:
        # Nor by a plan that was made for single labels and kept.
        session.execute(sa.text("SET LOCAL enable_nestloop = off; SET LOCAL plan_cache_mode = force_custom_plan"))


def relax_durability(session: Session) -> None:
    """Let this commit not wait for the disk: for rows that can be made again, never for labels."""
    session.execute(sa.text("SET LOCAL synchronous_commit = off"))
