"""Suggestions and predictions: resolve what was left out, run the job, answer."""

import secrets
from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api_schemas import jobs as job_wire
from api_schemas import suggest as wire
from api_schemas.common import FieldProblem, Json
from service.context import Context
from service.operations import jobs as job_operations
from service.operations import projects
from service.problems import ConflictError, InvalidError, UnknownError
from store import jobs, pools
from store.tables import Project

_ITEMS_MAX = 10_000
_AUTO = "mlmoc"
_AUTO_REASON = "auto chose mlmoc: a checkpoint is prepared, and look-ahead uses every label as it arrives"


def suggest(context: Context, request: wire.SuggestRequest, wait_seconds: float) -> wire.SuggestAnswer | job_wire.Job:
    """Suggestions, or the job that is still making them. Raises UnknownError, ConflictError, InvalidError."""
    with context.sessions.begin() as session:
        project = projects.find(session, request.project)
        defaults = wire.SuggestDefaults.model_validate(project.defaults)
        strategy = request.strategy or defaults.strategy
        arguments = _arguments(request, strategy, defaults)
        if project.item_count == 0:
            raise ConflictError(
                "empty_pool", f"project {project.name!r} has no items: POST /projects/{project.name}/pool"
            )
        if project.active_state_id is None and strategy != "random":
            raise _not_prepared(session, project)
        project_id = project.id
    job = job_operations.run_interactive(context, "suggest", project_id, arguments, wait_seconds)
    return job if job.result is None else wire.SuggestAnswer.model_validate(job.result)


def _arguments(request: wire.SuggestRequest, strategy: str, defaults: wire.SuggestDefaults) -> Json:
    name = _AUTO if strategy == "auto" else strategy
    # A project's default options belong to its default strategy.
    inherited = defaults.options if strategy == defaults.strategy else {}
    lease = request.lease_seconds
    if lease is None:
        lease = defaults.lease_seconds if request.annotator is not None else 0
    return {
        "count": request.count,
        "strategy": name,
        "options": _options(name, inherited | request.options),
        "annotator": request.annotator,
        "lease_seconds": lease,
        "seed": secrets.randbelow(2**31) if request.seed is None else request.seed,
        "reason": _AUTO_REASON if strategy == "auto" else None,
    }


def _options(strategy: str, options: Json) -> Json:
    try:
        return wire.checked_options(strategy, options)
    except ValidationError as error:
        errors = [
            FieldProblem(field=".".join(["options", *(str(part) for part in entry["loc"])]), detail=entry["msg"])
            for entry in error.errors()
        ]
        takes = ", ".join(wire.OPTIONS[strategy].model_fields)
        raise InvalidError(
            "invalid_options",
            f"{errors[0].field}: {errors[0].detail} ({strategy} takes: {takes})",
            errors=errors,
        ) from error


def _not_prepared(session: Session, project: Project) -> ConflictError:
    preparing = jobs.open_of_kind(session, project.id, "prepare")
    if preparing is not None:
        return ConflictError(
            "not_prepared",
            f"the first kernel state is being prepared by {preparing.id}: wait for it, or ask for the strategy "
            "'random'",
            job=preparing.id,
            headers={"Retry-After": "2"},
        )
    return ConflictError(
        "not_prepared",
        f"no checkpoint is prepared: POST /projects/{project.name}/checkpoints, or ask for the strategy 'random'",
    )


def predict(
    context: Context,
    project_name: str,
    items: Sequence[str],
    source: Literal["linearized", "network"],
    wait_seconds: float,
) -> wire.PredictionsAnswer | job_wire.Job:
    """Outputs for items, in the order asked, or the job that is still computing them."""
    if not 1 <= len(items) <= _ITEMS_MAX:
        raise InvalidError("invalid_request", f"ask for 1 to {_ITEMS_MAX} items at a time, not {len(items)}")
    with context.sessions.begin() as session:
        project = projects.find(session, project_name)
        known = pools.positions(session, project.id, list(set(items)))
        if missing := [item for item in items if item not in known]:
            named = ", ".join(repr(item) for item in missing[:5])
            raise UnknownError("unknown_item", f"project {project.name!r} has no item {named}")
        if project.active_state_id is None:
            raise _not_prepared(session, project)
        project_id = project.id
    arguments: Json = {"items": [known[item][0] for item in items], "source": source}
    job = job_operations.run_interactive(context, "predict", project_id, arguments, wait_seconds)
    return job if job.result is None else wire.PredictionsAnswer.model_validate(job.result)
