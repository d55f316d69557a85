"""What live events tell: open jobs and how projects stand, each in one statement."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from store.alive import alive, called
from store.jobs import OPEN
from store.pools import still_held
from store.tables import ApiKey, Job, Json, KernelState, Project, Suggestion

JOBS_MAX = 500
# Their results are short; those of others may hold thousands of items, and GET /jobs/{id} has them.
_WITH_RESULT = ("prepare", "train")


@dataclass(frozen=True)
class SeenJob:
    """A job with its project's name, its place in the queue if it waits, and its result if that is short."""

    job: Job
    project: str
    queue_position: int | None
    result: Json | None


@dataclass(frozen=True)
class Standing:
    """Where a project stands: what changes when something happens in it."""

    project: str
    label_seq: int
    pool_version: int
    state_id: int | None
    applied_seq: int | None
    open_suggestions: int


def open_jobs(session: Session) -> list[SeenJob]:
    """Those that run and the first that wait, 500 at most."""
    running_first = sa.case((Job.status == "running", 0), else_=1)
    wanted = _jobs().where(Job.status.in_(OPEN), alive(Job.project_id))
    rows = session.execute(wanted.order_by(running_first, Job.created_at).limit(JOBS_MAX))
    ahead: dict[str, int] = {}
    found = []
    for job, project in rows:
        place = None
        if job.status == "queued":
            place = ahead.get(job.queue, 0)
            ahead[job.queue] = place + 1
        found.append(SeenJob(job, project, place, None))
    return found


def jobs_by_id(session: Session, ids: Collection[str]) -> list[SeenJob]:
    """These jobs, whatever has become of them."""
    if not ids:
        return []
    results: dict[str, Json | None] = {
        row[0]: row[1]
        for row in session.execute(sa.select(Job.id, Job.result).where(Job.id.in_(ids), Job.kind.in_(_WITH_RESULT)))
    }
    rows = session.execute(_jobs().where(Job.id.in_(ids)))
    return [SeenJob(job, called(project), None, results.get(job.id)) for job, project in rows]


def _jobs() -> sa.Select[Job, str]:
    return (
        sa.select(Job, Project.name)
        .join(Project, Project.id == Job.project_id)
        .options(defer(Job.arguments), defer(Job.result))
        .execution_options(populate_existing=True)
    )


def projects(session: Session, names: Collection[str] | None) -> list[Standing]:
    """How these projects stand, or all of them."""
    held = (
        sa.select(Suggestion.project_id, sa.func.count(sa.distinct(Suggestion.item_position)).label("held"))
        .where(still_held())
        .group_by(Suggestion.project_id)
        .subquery()
    )
    query = (
        sa.select(
            Project.name,
            Project.label_seq,
            Project.pool_version,
            Project.active_state_id,
            KernelState.applied_seq,
            sa.func.coalesce(held.c.held, 0),
        )
        .outerjoin(KernelState, KernelState.id == Project.active_state_id)
        .outerjoin(held, held.c.project_id == Project.id)
        .where(Project.deleted_at.is_(None))
        .order_by(Project.name)
    )
    if names is not None:
        query = query.where(Project.name.in_(names))
    return [Standing(*row) for row in session.execute(query)]


def live_keys(session: Session, ids: Iterable[int]) -> set[int]:
    """Those of these API keys that are neither revoked nor over."""
    wanted = list(ids)
    if not wanted:
        return set()
    rows = session.execute(
        sa.select(ApiKey.id, ApiKey.expires_at).where(ApiKey.id.in_(wanted), ApiKey.revoked_at.is_(None))
    )
    now = datetime.now(UTC)
    return {row[0] for row in rows if row[1] is None or row[1] > now}
