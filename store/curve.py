"""The learning curve: one point for every catch-up that moved a kernel state, the first when it was prepared."""

from dataclasses import dataclass
from typing import cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.tables import Checkpoint, CurvePoint, KernelState

_POINTS = cast(sa.Table, CurvePoint.__table__)
_KEY = ["project_id", "state_id", "label_seq"]
_FIGURES = ["labeled_count", "leave_one_out_accuracy", "changed_predictions", "flipped"]
_NEW = insert(_POINTS).values({name: sa.bindparam(name) for name in [*_KEY, *_FIGURES]})
_ADD = _NEW.on_conflict_do_update(constraint="pk_curve_points", set_={name: _NEW.excluded[name] for name in _FIGURES})


def add(
    session: Session,
    *,
    project_id: int,
    state_id: int,
    label_seq: int,
    labeled_count: int,
    leave_one_out_accuracy: float | None,
    changed_predictions: float | None,
    flipped: float | None,
) -> None:
    """One point, in the caller's transaction; it takes the place of one at the same label."""
    point = {
        "project_id": project_id,
        "state_id": state_id,
        "label_seq": label_seq,
        "labeled_count": labeled_count,
        "leave_one_out_accuracy": leave_one_out_accuracy,
        "changed_predictions": changed_predictions,
        "flipped": flipped,
    }
    session.execute(_ADD, point)


def page(session: Session, project_id: int, after_seq: int, limit: int) -> list[tuple[CurvePoint, str]]:
    """Points past `after_seq` with the names of their checkpoints, by label_seq.

    Points of one label_seq are never torn apart: there may be more than `limit` of them.
    """
    rows = session.execute(
        sa.select(CurvePoint, Checkpoint.name)
        .join(KernelState, KernelState.id == CurvePoint.state_id)
        .join(Checkpoint, Checkpoint.id == KernelState.checkpoint_id)
        .where(CurvePoint.project_id == project_id, CurvePoint.label_seq > after_seq)
        .order_by(CurvePoint.label_seq)
        .fetch(limit, with_ties=True)
    )
    return sorted(((row[0], row[1]) for row in rows), key=lambda row: (row[0].label_seq, row[0].state_id))


@dataclass(frozen=True)
class Recent:
    """What the last labels of a kernel state did."""

    labels: int  # how many
    flipped: float  # shares of candidates whose predicted class changed, summed over them
    accuracy_before: float | None  # leave-one-out
    accuracy: float | None


def recent(session: Session, project_id: int, state_id: int, labels: int) -> Recent | None:
    """The shortest run of last points in which `labels` labels or more were added; None where there is none."""
    of_state = sa.and_(CurvePoint.project_id == project_id, CurvePoint.state_id == state_id)
    last = session.scalars(sa.select(CurvePoint).where(of_state).order_by(CurvePoint.label_seq.desc()).limit(1)).first()
    if last is None:
        return None
    base = session.scalars(
        sa.select(CurvePoint)
        .where(of_state, CurvePoint.labeled_count <= last.labeled_count - labels)
        .order_by(CurvePoint.label_seq.desc())
        .limit(1)
    ).first()
    if base is None:
        return None
    flipped, unknown = session.execute(
        sa.select(
            sa.func.sum(CurvePoint.flipped),
            sa.func.count().filter(CurvePoint.flipped.is_(None)),
        ).where(of_state, CurvePoint.label_seq > base.label_seq)
    ).one()
    if unknown:
        # No candidate was left to compare: that says nothing about stability.
        return None
    return Recent(
        labels=last.labeled_count - base.labeled_count,
        flipped=float(flipped or 0.0),
        accuracy_before=base.leave_one_out_accuracy,
        accuracy=last.leave_one_out_accuracy,
    )
