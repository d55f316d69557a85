"""What is not needed for ever: old jobs, suggestions that hold nothing, answers to requests, overruled factor rows.

And artifacts that nothing refers to. Labels are never pruned.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store import idempotency, jobs, references
from store.artifacts import Artifacts
from store.database import Sessions
from store.pools import still_held
from store.tables import FactorRow, Job, Suggestion

IDEMPOTENCY_KEPT = timedelta(hours=24)
BATCH = 1000
_SPACE, _KEY = 0x9241E, 0


@dataclass(frozen=True)
class Pruned:
    """How many rows of each kind were deleted."""

    jobs: int = 0
    suggestions: int = 0
    idempotency_keys: int = 0
    factor_rows: int = 0

    @property
    def more(self) -> bool:
        """Whether there may be more: a batch was full."""
        return max(self.jobs, self.suggestions, self.idempotency_keys, self.factor_rows) >= BATCH


def prune(session: Session, keep: timedelta | None) -> Pruned | None:
    """Delete one batch of each kind, older than `keep`; None when another process is at it.

    `keep` None keeps jobs and suggestions for ever. A job stays as long as one of its suggestions.
    """
    if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_SPACE, _KEY))):
        return None
    answered = idempotency.prune(session, IDEMPOTENCY_KEPT, BATCH)
    overruled = _overruled_rows(session)
    if keep is None:
        return Pruned(idempotency_keys=answered, factor_rows=overruled)
    suggestions = _delete(
        session,
        Suggestion,
        Suggestion.id,
        _before(Suggestion.created_at, keep),
        sa.func.coalesce(still_held(), False).is_(False),
    )
    needed = sa.exists().where(Suggestion.job_id == Job.id)
    finished = _delete(
        session,
        Job,
        Job.id,
        _before(Job.created_at, keep),
        _before(Job.finished_at, keep),
        Job.status.in_(jobs.FINISHED),
        ~needed,
    )
    return Pruned(finished, suggestions, answered, overruled)


def _overruled_rows(session: Session) -> int:
    """Delete factor rows that withdrawals have put others in the place of: nothing reads them any more."""
    later = sa.orm.aliased(FactorRow)
    key = sa.tuple_(FactorRow.state_id, FactorRow.position, FactorRow.revision)
    batch = (
        sa.select(FactorRow.state_id, FactorRow.position, FactorRow.revision)
        .where(
            sa.exists().where(
                later.state_id == FactorRow.state_id,
                later.position == FactorRow.position,
                later.revision > FactorRow.revision,
            )
        )
        .limit(BATCH)
    )
    deleted = session.execute(
        sa.delete(FactorRow)
        .where(key.in_(batch))
        .returning(FactorRow.state_id)
        .execution_options(synchronize_session=False)
    )
    return len(deleted.all())


def _before(column: sa.orm.InstrumentedAttribute[Any], age: timedelta) -> sa.ColumnElement[bool]:
    return column < sa.func.now() - age


def _delete(
    session: Session,
    table: type[Suggestion | Job],
    key: sa.orm.InstrumentedAttribute[Any],
    *conditions: sa.ColumnElement[bool],
) -> int:
    batch = sa.select(key).where(*conditions).limit(BATCH)
    deleted = session.execute(
        sa.delete(table).where(key.in_(batch)).returning(key).execution_options(synchronize_session=False)
    )
    return len(deleted.all())


def collect(sessions: Sessions, artifacts: Artifacts, grace_seconds: float) -> int:
    """Remove artifacts that nothing refers to, once they are older than the grace; returns how many.

    The grace is for those that are written and about to be referred to.
    """
    with sessions.begin() as session:
        needed = references.lasting(session) | references.kernels(session)
    removed = 0
    for name in artifacts.idle(grace_seconds):
        if name not in needed:
            removed += references.drop(sessions, artifacts, name)
    artifacts.forget_staged(grace_seconds)
    return removed
