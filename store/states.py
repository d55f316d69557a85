"""Kernel states: Gram panels as artifacts, factor rows in Postgres, `applied_seq`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from store import curve, insights
from store.errors import StaleStateError
from store.tables import FactorRow, Job, KernelPanel, KernelState, LabelEvent, Project, StateInsight

Row = npt.NDArray[np.float64]
# Rows that are turned into bytes at once: a bulk import may bring thousands.
_ROWS_PER_INSERT = 256


@dataclass(frozen=True)
class StoredRow:
    """One factor row as read: the item it stands for and its entries."""

    item_position: int
    row: Row


def get(session: Session, state_id: int) -> KernelState | None:
    """The kernel state as it stands in the database now."""
    return session.get(KernelState, state_id, populate_existing=True)


def panels(session: Session, state_id: int) -> list[KernelPanel]:
    """The finished row panels, in order."""
    return list(
        session.scalars(sa.select(KernelPanel).where(KernelPanel.state_id == state_id).order_by(KernelPanel.row_start))
    )


def factor_rows(session: Session, state_id: int, *, start: int, stop: int) -> list[StoredRow]:
    """Rows [start, stop) in force."""
    rows = session.execute(
        sa.select(FactorRow.item_position, FactorRow.row)
        .ext(distinct_on(FactorRow.position))
        .where(FactorRow.state_id == state_id, FactorRow.position >= start, FactorRow.position < stop)
        .order_by(FactorRow.position, FactorRow.revision.desc())
    )
    return [StoredRow(item, np.frombuffer(row, dtype="<f8")) for item, row in rows]


@dataclass(frozen=True)
class Advance:
    """What catching up changed: rows from `start` on, complete up to `applied_seq`."""

    expected_seq: int
    expected_revision: int
    applied_seq: int
    revision: int
    labeled_count: int
    start: int
    items: Sequence[int]
    rows: Sequence[Row]
    leave_one_out_accuracy: float | None
    changed_predictions: float | None
    flipped: float | None  # share of candidates whose predicted class this catch-up changed
    condition: float | None = None  # where it was estimated anew


def advance(session: Session, state_id: int, change: Advance) -> float | None:
    """Append factor rows, move `applied_seq` and add a point to the learning curve, in the caller's transaction.

    Returns the age in seconds of the newest label that the state now knows, if it is new to it.
    Raises StaleStateError when another worker was first: nothing is written then.
    """
    moved = session.execute(
        sa.update(KernelState)
        .where(
            KernelState.id == state_id,
            KernelState.applied_seq == change.expected_seq,
            KernelState.revision == change.expected_revision,
        )
        .values(
            applied_seq=change.applied_seq,
            revision=change.revision,
            labeled_count=change.labeled_count,
            leave_one_out_accuracy=change.leave_one_out_accuracy,
            changed_predictions=change.changed_predictions,
            condition=KernelState.condition if change.condition is None else change.condition,
        )
        .returning(KernelState.project_id, _age_of(KernelState.project_id, change.applied_seq))
    ).one_or_none()
    if moved is None:
        raise StaleStateError(f"kernel state {state_id} has moved past label {change.expected_seq}")
    insert_rows(
        session,
        state_id,
        start=change.start,
        revision=change.revision,
        items=change.items,
        rows=change.rows,
    )
    curve.add(
        session,
        project_id=moved[0],
        state_id=state_id,
        label_seq=change.applied_seq,
        labeled_count=change.labeled_count,
        leave_one_out_accuracy=change.leave_one_out_accuracy,
        changed_predictions=change.changed_predictions,
        flipped=change.flipped,
    )
    return float(moved[1]) if change.applied_seq > change.expected_seq and moved[1] is not None else None


def _age_of(project_id: sa.orm.InstrumentedAttribute[int], seq: int) -> sa.ScalarSelect[float]:
    """Seconds since a label event, by the clock that dated it."""
    return (
        sa.select(sa.func.extract("epoch", sa.func.clock_timestamp() - LabelEvent.created_at))
        .where(LabelEvent.project_id == project_id, LabelEvent.seq == seq)
        .scalar_subquery()
    )


def insert_rows(
    session: Session,
    state_id: int,
    *,
    start: int,
    revision: int,
    items: Sequence[int],
    rows: Sequence[Row],
) -> None:
    """Append factor rows from position `start` on; `rows` are read some at a time."""
    for first in range(0, len(rows), _ROWS_PER_INSERT):
        part = rows[first : first + _ROWS_PER_INSERT]
        session.execute(
            sa.insert(FactorRow),
            [
                {
                    "state_id": state_id,
                    "position": start + first + offset,
                    "revision": revision,
                    "item_position": item,
                    "row": np.ascontiguousarray(row, dtype="<f8").tobytes(),
                }
                for offset, (item, row) in enumerate(zip(items[first : first + len(part)], part, strict=True))
            ],
        )


def activate(session: Session, project_id: int, state_id: int) -> None:
    """Make a ready state the project's own; the one before it is superseded."""
    session.execute(
        sa.update(KernelState)
        .where(KernelState.project_id == project_id, KernelState.id != state_id, KernelState.status == "ready")
        .values(status="superseded")
    )
    session.execute(sa.update(Project).where(Project.id == project_id).values(active_state_id=state_id))


def without_labels(session: Session, state_id: int) -> int:
    """A copy of a ready state that has taken in no label: it shares the artifacts, whoever loads it labels anew."""
    old = session.get_one(KernelState, state_id)
    new = KernelState(
        project_id=old.project_id,
        checkpoint_id=old.checkpoint_id,
        options=old.options,
        status="ready",
        pool_version=old.pool_version,
        base_seq=old.base_seq,
        applied_seq=0,
        window=old.window,
        outputs=old.outputs,
        ridge=old.ridge,
        ready_at=sa.func.now(),
    )
    session.add(new)
    session.flush()
    columns = (KernelPanel.row_start, KernelPanel.row_stop, KernelPanel.artifact)
    session.execute(
        sa.insert(KernelPanel).from_select(
            ["state_id", *(column.key for column in columns)],
            sa.select(sa.literal(new.id), *columns).where(KernelPanel.state_id == state_id),
        )
    )
    insights.copy(session, state_id, new.id)
    return new.id


def abandon(session: Session, job_id: str) -> None:
    """Mark the state that a job was preparing as failed, if it was."""
    state_id = sa.select(sa.cast(Job.arguments["state_id"].astext, sa.Integer)).where(Job.id == job_id)
    session.execute(
        sa.update(KernelState)
        .where(KernelState.id == state_id.scalar_subquery(), KernelState.status == "preparing")
        .values(status="failed")
    )


def forget(session: Session, project_id: int) -> list[str]:
    """Drop the rows of states that can never be used again; returns artifacts that nothing refers to any more.

    The state superseded last is kept: a worker may be about to load it. Remove the artifacts after the commit.
    """
    finished = sa.select(KernelState.id, KernelState.status).where(
        KernelState.project_id == project_id, KernelState.status.in_(["superseded", "failed"])
    )
    old = session.execute(finished.order_by(KernelState.id.desc())).all()
    kept = next((row.id for row in old if row.status == "superseded"), None)
    gone = [row.id for row in old if row.id != kept]
    named = session.scalars(
        sa.delete(KernelPanel).where(KernelPanel.state_id.in_(gone)).returning(KernelPanel.artifact)
    ).all()
    session.execute(sa.delete(FactorRow).where(FactorRow.state_id.in_(gone)))
    session.execute(sa.delete(StateInsight).where(StateInsight.state_id.in_(gone)))
    used = set(session.scalars(sa.select(KernelPanel.artifact).where(KernelPanel.artifact.in_(named))))
    return sorted(set(named) - used)


def public_id(state_id: int) -> str:
    """The name a kernel state goes by outside."""
    return f"kernel-{state_id}"
