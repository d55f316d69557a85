"""Attributes of items: one transaction per request, all or nothing."""

from collections.abc import Mapping

from api_schemas import projects as wire
from api_schemas.common import FieldProblem
from api_schemas.filters import ATTRIBUTES_MAX, Changes
from service.context import Context
from service.operations import projects
from service.problems import InvalidError, UnknownError
from store import pools


def merge(context: Context, name: str, changes: Mapping[str, Changes]) -> wire.AttributesUpdated:
    """Merge values by key into items by id; a null removes its key. Raises UnknownError, InvalidError."""
    with context.sessions.begin() as session:
        # Labels lock the project before its items, in an order of their own: behind the same lock no two wait
        # for each other.
        project = projects.lock(session, name, context.caller)
        keys = pools.merge_attributes(session, project.id, changes)
        for item in changes:
            if item not in keys:
                raise UnknownError("unknown_item", f"project {project.name!r} has no item {item!r}")
            if keys[item] > ATTRIBUTES_MAX:
                raise _too_many(item, keys[item])
    return wire.AttributesUpdated(updated=len(changes))


def _too_many(item: str, keys: int) -> InvalidError:
    problem = FieldProblem(
        field=f"attributes.{item}",
        detail=f"an item has at most {ATTRIBUTES_MAX} keys and this one would have {keys}: remove some with null",
    )
    return InvalidError("invalid_request", f"{problem.field}: {problem.detail}", errors=[problem])
