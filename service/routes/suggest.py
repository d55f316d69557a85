"""Suggestions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api_schemas import jobs
from api_schemas import suggest as wire
from service.context import Services
from service.idempotency import REPLAYED, OnceOnly
from service.operations import suggest
from service.problems import declared
from service.routes.answers import answer
from service.routes.parameters import wait_seconds

router = APIRouter(tags=["suggestions"])


@router.post(
    "/suggest",
    response_model=wire.SuggestAnswer,
    responses=declared(400, 404, 409, 413, 503) | {202: {"model": jobs.Job, "description": "still at work"}},
)
async def suggest_items(
    request: wire.SuggestRequest, context: Services, wait: Annotated[float, Depends(wait_seconds)], once: OnceOnly
) -> Response:
    """What to label next, after every label so far."""
    made = answer(await suggest.suggest(context, request, wait, once.asked(request)), wait)
    if once.replayed:
        made.headers[REPLAYED] = "true"
    return made
