"""Which artifacts the tables refer to, and how one that nothing refers to is removed while others are at work.

Whoever is about to refer to an artifact holds its name until the commit; whoever removes one waits for that, and
looks again.
"""

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.artifacts import Artifacts
from store.database import Sessions
from store.tables import Checkpoint, KernelPanel, KernelState, PoolChunk

_SPACE = 0x0A27
_NAME = re.compile(r"[0-9a-f]{64}")


def kernels(session: Session) -> set[str]:
    """Panels of kernels: they can be computed again from everything else."""
    return set(session.scalars(sa.select(KernelPanel.artifact).distinct()))


def lasting(session: Session) -> set[str]:
    """Everything else that a row refers to and that is still needed."""
    found = set(session.scalars(sa.select(PoolChunk.artifact)))
    found |= set(session.scalars(sa.select(Checkpoint.weights)))
    for window, outputs in session.execute(sa.select(KernelState.window, KernelState.outputs).where(_live())):
        found |= {window} if outputs is None else {window, outputs}
    for extras in session.scalars(sa.select(Checkpoint.extras)):
        found |= set(_names(extras))
    return found


def _live() -> sa.ColumnElement[bool]:
    # Of states that were superseded or failed and have lost their panels, nothing is read any more.
    has_panels = sa.exists().where(KernelPanel.state_id == KernelState.id).correlate(KernelState)
    return sa.or_(KernelState.status.in_(["preparing", "ready"]), has_panels)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str) and _NAME.fullmatch(value):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _names(part)


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
    wanted: list[sa.ColumnElement[bool]] = [
        sa.exists().where(PoolChunk.artifact == name),
        sa.exists().where(sa.or_(Checkpoint.weights == name, in_extras)),
        sa.exists().where(sa.or_(KernelState.window == name, KernelState.outputs == name), _live()),
        sa.exists().where(KernelPanel.artifact == name),
    ]
    return bool(session.scalar(sa.select(sa.or_(*wanted))))


def _key(name: str) -> dict[str, int]:
    # Two names that share a lock only wait for each other.
    return {"space": _SPACE, "name": int(name[:8], 16) - 2**31}
