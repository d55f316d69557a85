"""Leases: hold on to items, give them back, see who holds what."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from api_schemas import leases as wire
from api_schemas.suggest import SuggestDefaults
from service.context import Context
from service.operations import projects
from service.operations.suggest import check_known
from service.problems import InvalidError
from store import pools, suggestions
from store.tables import Project


def renew(context: Context, request: wire.LeasesRenew) -> wire.LeasesRenewed:
    """Let leases last longer. Raises UnknownError, InvalidError."""
    with context.sessions.begin() as session:
        project = projects.find(session, request.project, context.caller, stay=True)
        lease = timedelta(seconds=_seconds(project, request.lease_seconds))
        at = _positions(session, project, request.items)
        suggestions.lock_leases(session, project.id)
        renewed = suggestions.renew(session, project.id, request.annotator, lease, at)
        names = pools.external_ids(session, project.id, [*renewed.until, *renewed.expired])
    return wire.LeasesRenewed(
        leases=[wire.LeaseEnd(item=names[at], lease_until=until) for at, until in sorted(renewed.until.items())],
        expired=[names[at] for at in renewed.expired],
    )


def release(context: Context, request: wire.LeasesRelease) -> wire.LeasesReleased:
    """Give items back. Raises UnknownError."""
    with context.sessions.begin() as session:
        project = projects.find(session, request.project, context.caller, stay=True)
        at = _positions(session, project, request.items)
        suggestions.lock_leases(session, project.id)
        released = suggestions.release(session, project.id, request.annotator, at)
        names = pools.external_ids(session, project.id, released)
    return wire.LeasesReleased(released=[names[at] for at in released])


def page(context: Context, name: str, *, annotator: str | None, after: int, limit: int) -> wire.LeasePage:
    """Open leases on items past position `after`. Raises UnknownError."""
    with context.sessions.begin() as session:
        project = projects.find(session, name, context.caller)
        rows = suggestions.page(session, project.id, annotator=annotator, after=after, limit=limit)
        leases = [
            wire.Lease.model_validate(
                {
                    "item": item,
                    "annotator": row.annotator,
                    "since": row.created_at,
                    "lease_until": row.lease_until,
                    "rank": row.rank,
                    "strategy": row.strategy,
                }
            )
            for row, item in rows
        ]
    return wire.LeasePage(leases=leases, next=rows[-1][0].item_position if len(rows) == limit else None)


def _positions(session: Session, project: Project, items: Sequence[str] | None) -> list[int] | None:
    if items is None:
        return None
    known = pools.positions(session, project.id, list(set(items)))
    check_known(project, items, known)
    return sorted(position for position, _ in known.values())


def _seconds(project: Project, asked: int | None) -> int:
    seconds = asked or SuggestDefaults.model_validate(project.defaults).lease_seconds
    if seconds == 0:
        raise InvalidError(
            "invalid_request", f"lease_seconds: say how long, for the default of project {project.name!r} is 0"
        )
    return seconds
