"""Leases."""

from typing import Annotated

from fastapi import APIRouter, Query

from api_schemas import leases as wire
from api_schemas.common import Tag
from service.context import Services
from service.operations import leases
from service.problems import declared
from service.routes.parameters import Limit, Position, ProjectName

router = APIRouter(tags=["suggestions"])


@router.post("/leases/renew", responses=declared(400, 404, 413))
def renew_leases(request: wire.LeasesRenew, context: Services) -> wire.LeasesRenewed:
    """Hold items for longer: while somebody still looks at them."""
    return leases.renew(context, request)


@router.post("/leases/release", responses=declared(400, 404, 413))
def release_leases(request: wire.LeasesRelease, context: Services) -> wire.LeasesReleased:
    """Give items back before their leases end."""
    return leases.release(context, request)


@router.get("/projects/{name}/leases", responses=declared(404))
def list_leases(
    name: ProjectName,
    context: Services,
    annotator: Annotated[Tag | None, Query(description="only this annotator's")] = None,
    after: Position = -1,
    limit: Limit = 100,
) -> wire.LeasePage:
    """Who holds what, in pool order."""
    return leases.page(context, name, annotator=annotator, after=after, limit=limit)
