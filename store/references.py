"""Which artifacts the tables refer to, and how one that nothing refers to is removed while others are at work.

Whoever is about to refer to an artifact holds its name until the commit; whoever removes one waits for that, and
looks again. Rows of deleted projects count no more.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.alive import alive
from store.artifacts import Artifacts
from store.database import Sessions
from store.tables import Checkpoint, KernelPanel, KernelState, PoolChunk, Project

_SPACE = 0x0A27
_NAME = re.compile(r"[0-9a-f]{64}")
_COLUMNS = {
    ("pool_chunks", "artifact"),
    ("pool_chunks", "contents"),
    ("checkpoints", "weights"),
    ("checkpoints", "extras"),
    ("kernel_states", "window"),
    ("kernel_states", "outputs"),
    ("kernel_panels", "artifact"),
}


def kernels(session: Session) -> set[str]:
    """Panels of kernels: they can be computed again from everything else."""
    return set(session.scalars(sa.select(KernelPanel.artifact).where(_of_living_state()).distinct()))


def lasting(session: Session) -> set[str]:
    """Everything else that a row refers to and that is still needed."""
    found: set[str] = set()
    for columns, condition in (
        ((PoolChunk.artifact, PoolChunk.contents), alive(PoolChunk.project_id)),
        ((Checkpoint.weights, Checkpoint.extras), alive(Checkpoint.project_id)),
        ((KernelState.window, KernelState.outputs), _live()),
    ):
        for row in session.execute(sa.select(*columns).where(condition)):
            found.update(_names(tuple(row)))
    return found


def named(table: sa.Table) -> list[sa.Column[Any]]:
    """The columns of a table that may name artifacts."""
    return [column for column in table.columns if (table.name, column.name) in _COLUMNS]


def names_in(rows: Any) -> set[str]:
    """The artifacts that values of such columns name."""
    return set(_names(rows))


def _live() -> sa.ColumnElement[bool]:
    # Of states that were superseded or failed and have lost their panels, nothing is read any more.
    has_panels = sa.exists().where(KernelPanel.state_id == KernelState.id).correlate(KernelState)
    return sa.and_(sa.or_(KernelState.status.in_(["preparing", "ready"]), has_panels), alive(KernelState.project_id))


def _of_living_state() -> sa.ColumnElement[bool]:
    gone = sa.select(KernelState.id).join(Project, Project.id == KernelState.project_id)
    return KernelPanel.state_id.not_in(gone.where(Project.deleted_at.is_not(None)))


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str) and _NAME.fullmatch(value):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _names(part)


def kept(session: Session, artifacts: Artifacts, make: Callable[[], str]) -> str:
    """The artifact that `make` stores, held until this transaction ends, and there, whoever removes its like."""
    name = make()
    secure(session, artifacts, name, make)
    return name


def secure(session: Session, artifacts: Artifacts, name: str, make: Callable[[], object]) -> None:
    """Hold an artifact that is stored already, and have it made again if it is gone.

    Before it was held it may have gone with the last row that had the same bytes, or with another's upload of them.
    """
    hold(session, name)
    if not artifacts.exists(name):
        make()


def hold(session: Session, name: str) -> None:
    """Keep an artifact from being removed until this transaction ends. Look afterwards whether it is there."""
    session.execute(sa.text("SELECT pg_advisory_xact_lock_shared(:space, :name)"), _key(name))


def drop(sessions: Sessions, artifacts: Artifacts, name: str) -> bool:
    """Remove an artifact unless a row refers to it, or is about to; returns whether it was removed."""
    with sessions.begin() as session:
        session.execute(sa.text("SELECT pg_advisory_xact_lock(:space, :name)"), _key(name))
        if _referred_to(session, name):
            return False
        artifacts.remove(name)
    return True


def _referred_to(session: Session, name: str) -> bool:
    in_extras = sa.cast(Checkpoint.extras, sa.Text).contains(name)
    of_chunk = sa.or_(PoolChunk.artifact == name, PoolChunk.contents == name)
    wanted: list[sa.ColumnElement[bool]] = [
        sa.exists().where(of_chunk, alive(PoolChunk.project_id)),
        sa.exists().where(sa.or_(Checkpoint.weights == name, in_extras), alive(Checkpoint.project_id)),
        sa.exists().where(sa.or_(KernelState.window == name, KernelState.outputs == name), _live()),
        sa.exists().where(KernelPanel.artifact == name, _of_living_state()),
    ]
    return bool(session.scalar(sa.select(sa.or_(*wanted))))


def _key(name: str) -> dict[str, int]:
    # Two names that share a lock only wait for each other.
    return {"space": _SPACE, "name": int(name[:8], 16) - 2**31}
