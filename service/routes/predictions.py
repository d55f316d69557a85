"""Predictions."""

import csv
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import TypeAdapter, ValidationError

from api_schemas import jobs
from api_schemas import suggest as wire
from api_schemas.common import ItemId
from service.context import Services
from service.operations import suggest
from service.problems import InvalidError, declared
from service.routes.answers import answer
from service.routes.parameters import ProjectName, wait_seconds

router = APIRouter(tags=["suggestions"])


def item_ids(
    items: Annotated[list[str], Query(description="ids, comma-separated as in CSV; may be repeated")],
) -> list[str]:
    """All ids, in the order given. Raises InvalidError."""
    try:
        found = [item for row in csv.reader(items, strict=True) for item in row]
        return TypeAdapter(list[ItemId]).validate_python(found)
    except csv.Error as error:
        raise InvalidError("invalid_request", f"items: not comma-separated ids: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidError("invalid_request", f"items: id {first['loc'][0]}: {first['msg']}") from error


@router.get(
    "/projects/{name}/predictions",
    response_model=wire.PredictionsAnswer,
    responses=declared(404, 409, 503) | {202: {"model": jobs.Job, "description": "still at work"}},
)
async def get_predictions(
    name: ProjectName,
    context: Services,
    items: Annotated[list[str], Depends(item_ids)],
    wait: Annotated[float, Depends(wait_seconds)],
    source: Literal["linearized", "network"] = "linearized",
) -> Response:
    """The kernel model's outputs after every label so far, or the checkpoint's own."""
    return answer(await suggest.predict(context, name, items, source, wait), wait)
