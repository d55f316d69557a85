"""Jobs once all is quiet: every one has ended, none by an error of ours."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.jobs import OPEN
from store.tables import Job


def still_open(session: Session) -> Sequence[Job]:
    """Jobs that wait or run."""
    return session.scalars(sa.select(Job).where(Job.status.in_(OPEN)).order_by(Job.created_at)).all()


def check_ended(session: Session) -> list[str]:
    """No job waits or runs."""
    return [
        f"{job.id} ({job.kind}, {job.queue}) is {job.status}, attempt {job.attempt}, made at {job.created_at}, "
        f"worker {job.worker}, last heard of at {job.heartbeat_at}"
        for job in still_open(session)
    ]


def check_failures(session: Session) -> list[str]:
    """No job failed with an error of ours."""
    rows = session.scalars(
        sa.select(Job).where(Job.status == "failed", Job.error["code"].astext == "internal_error")
    ).all()
    return [
        f"{job.id} ({job.kind}) failed at {job.finished_at} on {job.worker}, attempt {job.attempt}: {job.error}"
        for job in rows
    ]


def counts(session: Session) -> dict[str, Any]:
    """How many jobs ended how, by kind."""
    code = sa.func.coalesce(Job.error["code"].astext, "")
    rows = session.execute(
        sa.select(Job.kind, Job.status, code, sa.func.count(), sa.func.max(Job.attempt)).group_by(
            Job.kind, Job.status, code
        )
    )
    return {
        " ".join(filter(None, (kind, status, error))): {"jobs": number, "attempts_max": attempts}
        for kind, status, error, number, attempts in sorted(rows)
    }
