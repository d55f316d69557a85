"""Suggestions and predictions: resolve what was left out, run the job, answer."""

import secrets
from collections.abc import Container, Sequence
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api_schemas import jobs as job_wire
from api_schemas import suggest as wire
from api_schemas.common import Json
from api_schemas.strategies import OPTIONS, checked_options
from service.context import Context
from service.idempotency import Once
from service.operations import jobs as job_operations
from service.operations import projects
from service.operations.labels import unknown_class
from service.problems import ConflictError, InvalidError, UnknownError, field_problems
from store import jobs, pools
from store.auto import choose, situation
from store.tables import Job, Project

_ITEMS_MAX = 10_000
_NAMED = 5


async def suggest(
    context: Context, request: wire.SuggestRequest, wait_seconds: float, once: Once
) -> wire.SuggestAnswer | job_wire.Job:
    """Suggestions, or the job that is still making them. Raises UnknownError, ConflictError, InvalidError."""
    with job_operations.of(request.project):
        job = await job_operations.run_interactive(context, lambda: _create(context, request, once), wait_seconds)
    return job if job.result is None else wire.SuggestAnswer.model_validate(job.result)


def _create(context: Context, request: wire.SuggestRequest, once: Once) -> Job:
    with context.sessions.begin() as session:
        if (before := job_operations.started_before(session, once.claim(session))) is not None:
            once.replayed = True
            return before
        project = projects.find_filled(session, request.project, context.caller)
        defaults = wire.SuggestDefaults.model_validate(project.defaults)
        strategy: str = request.strategy or defaults.strategy
        if project.active_state_id is None and strategy != "random":
            _options(strategy, request.options)
            raise _not_prepared(session, project)
        if project.active_state_id is None and (request.per_class is not None or request.min_distance is not None):
            rule = "min_distance" if request.per_class is None else "per_class"
            raise _not_prepared(session, project, f"do without {rule}, which looks at the kernel state")
        arguments = _arguments(session, project, request, defaults)
        job = job_operations.create_interactive(context, session, "suggest", project.id, arguments)
        once.note(session, {"job": job.id}, project_id=project.id)
        return job


def _arguments(
    session: Session, project: Project, request: wire.SuggestRequest, defaults: wire.SuggestDefaults
) -> Json:
    asked: str = request.strategy or defaults.strategy
    # A project's default options belong to its default strategy.
    options = (defaults.options if asked == defaults.strategy else {}) | request.options
    name, reason = asked, None
    if asked == "auto":
        chosen = choose(situation(session, project))
        _options("auto", options)
        name, reason = chosen.strategy, chosen.reason
        taken = {key: value for key, value in options.items() if key in OPTIONS[name].model_fields}
        options = chosen.options | taken
    lease = request.lease_seconds
    if lease is None:
        lease = defaults.lease_seconds if request.annotator is not None else 0
    return {
        "count": request.count,
        "strategy": name,
        "options": _options(name, options),
        "annotator": request.annotator,
        "lease_seconds": lease,
        "seed": secrets.randbelow(2**31) if request.seed is None else request.seed,
        "reason": reason,
        "exclude": _excluded(session, project, request.exclude),
        "filter": request.filter,
        "per_class": _quotas(project, request.per_class),
        "random_share": request.random_share,
        "min_distance": request.min_distance,
    }


def _excluded(session: Session, project: Project, items: Sequence[str]) -> list[int]:
    known = pools.positions(session, project.id, list(set(items)))
    check_known(project, items, known)
    return sorted(position for position, _ in known.values())


def _quotas(project: Project, per_class: int | dict[str, int] | None) -> Any:
    """Quotas by class index, as JSON has them. Raises InvalidError."""
    if not isinstance(per_class, dict):
        return per_class
    if unknown := sorted(set(per_class) - set(project.classes)):
        raise unknown_class(unknown[0], project.classes, "per_class: ")
    return {str(project.classes.index(name)): most for name, most in per_class.items()}


def check_known(project: Project, items: Sequence[str], known: Container[str]) -> None:
    """Raise UnknownError `unknown_item` if an item is not among those known."""
    if missing := [item for item in dict.fromkeys(items) if item not in known]:
        named = ", ".join(repr(item) for item in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise UnknownError("unknown_item", f"project {project.name!r} has no item {named}{more}")


def _options(strategy: str, options: Json) -> Json:
    try:
        return checked_options(strategy, options)
    except ValidationError as error:
        errors = field_problems(error, "options")
        takes = ", ".join(OPTIONS["mlmoc" if strategy == "auto" else strategy].model_fields)
        raise InvalidError(
            "invalid_options",
            f"{errors[0].field}: {errors[0].detail} ({strategy} takes: {takes})",
            errors=errors,
        ) from error


def _not_prepared(
    session: Session, project: Project, otherwise: str = "ask for the strategy 'random'"
) -> ConflictError:
    preparing = jobs.open_of_kind(session, project.id, "prepare") or jobs.open_of_kind(session, project.id, "train")
    if preparing is not None:
        return ConflictError(
            "not_prepared",
            f"the first kernel state is being prepared by {preparing.id}: wait for it, or {otherwise}",
            job=preparing.id,
            headers={"Retry-After": "2"},
        )
    return ConflictError(
        "not_prepared",
        f"no checkpoint is prepared: POST /projects/{project.name}/checkpoints or /projects/{project.name}/train, or "
        f"{otherwise}",
    )


async def predict(
    context: Context,
    project_name: str,
    items: Sequence[str],
    source: Literal["linearized", "network"],
    wait_seconds: float,
) -> wire.PredictionsAnswer | job_wire.Job:
    """Outputs for items, in the order asked, or the job that is still computing them."""
    if not 1 <= len(items) <= _ITEMS_MAX:
        raise InvalidError("invalid_request", f"ask for 1 to {_ITEMS_MAX} items at a time, not {len(items)}")
    with job_operations.of(project_name):
        job = await job_operations.run_interactive(
            context, lambda: _create_prediction(context, project_name, items, source), wait_seconds
        )
    return job if job.result is None else wire.PredictionsAnswer.model_validate(job.result)


def _create_prediction(context: Context, project_name: str, items: Sequence[str], source: str) -> Job:
    with context.sessions.begin() as session:
        project = projects.find(session, project_name, context.caller, stay=True)
        known = pools.positions(session, project.id, list(set(items)))
        check_known(project, items, known)
        if project.active_state_id is None:
            raise _not_prepared(session, project)
        arguments: Json = {"items": [known[item][0] for item in items], "source": source}
        return job_operations.create_interactive(context, session, "predict", project.id, arguments)
