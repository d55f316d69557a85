"""Items of pools and their attributes."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import TypeAdapter, ValidationError

from api_schemas import projects as wire
from api_schemas.common import ItemId
from api_schemas.filters import Filter
from service.context import Services
from service.operations import attributes, pool
from service.problems import InvalidError, declared, field_problems
from service.routes.parameters import Limit, Position, ProjectName

router = APIRouter()

_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)


def conditions(
    given: Annotated[
        str | None,
        Query(
            alias="filter",
            description="JSON object: by key of an attribute a value, a list of values of which any will do, "
            '`{"min": number, "max": number}` or `{"exists": bool}`; all must hold',
            examples=['{"site": ["north", "east"], "age": {"min": 18}, "reviewed": {"exists": false}}'],
        ),
    ] = None,
) -> Filter:
    """The filter of a query; without one, no conditions. Raises InvalidError."""
    if given is None:
        return {}
    try:
        return _FILTER.validate_json(given)
    except ValidationError as error:
        errors = field_problems(error, "filter")
        raise InvalidError("invalid_request", f"{errors[0].field}: {errors[0].detail}", errors=errors) from error


@router.get("/projects/{name}/items", responses=declared(404))
def list_items(
    name: ProjectName,
    context: Services,
    conditions: Annotated[Filter, Depends(conditions)],
    limit: Limit = 100,
    after: Position = -1,
    state: Literal["unlabeled", "labeled", "skipped", "leased", "held_out"] | None = None,
) -> wire.ItemPage:
    """Items in pool order."""
    return pool.page(context, name, state=state, conditions=conditions, after=after, limit=limit)


@router.get("/projects/{name}/items/{item:path}", responses=declared(404))
def get_item(
    name: ProjectName, item: Annotated[ItemId, Path(description="the item's id")], context: Services
) -> wire.ItemDetail:
    """One item with what every annotator says of it, and its history."""
    return pool.detail(context, name, item)


@router.patch("/projects/{name}/items", responses=declared(400, 404, 413))
def set_attributes(name: ProjectName, request: wire.AttributesRequest, context: Services) -> wire.AttributesUpdated:
    """Merge values into the attributes of items: of all that are named, or of none."""
    return attributes.merge(context, name, request.attributes)
