"""API keys and the audit log."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api_schemas import keys as wire
from api_schemas.common import Name
from service.context import Services
from service.operations import keys
from service.problems import declared
from service.routes.parameters import Limit

router = APIRouter(tags=["access"])

_PREFIX = r"^[0-9a-f]{8}$"
Prefix = Annotated[str, Path(pattern=_PREFIX, description="the eight characters after lk_, never the whole key")]


@router.post("/keys", status_code=201, responses=declared(400, 413))
def create_key(request: wire.KeyCreate, context: Services, http: Request, response: Response) -> wire.NewKey:
    """Make a key. This answer is the only one that has it."""
    made = keys.create(context, request)
    http.state.made = made.prefix
    response.headers["Cache-Control"] = "no-store"
    return made


@router.get("/keys")
def list_keys(
    context: Services,
    limit: Limit = 100,
    after: Annotated[str | None, Query(pattern=_PREFIX, description="the `next` of the page before")] = None,
) -> wire.KeyList:
    """Keys in the order they were made, live or not. A key for some projects sees those of these projects."""
    return keys.page(context, after, limit)


@router.post("/keys/{prefix}/rotate", status_code=201, responses=declared(400, 404, 409, 413))
def rotate_key(
    prefix: Prefix, context: Services, http: Request, response: Response, request: wire.KeyRotate | None = None
) -> wire.NewKey:
    """Replace a key by one with the same rights; the old one goes on for `grace_seconds`."""
    made = keys.rotate(context, prefix, request or wire.KeyRotate())
    http.state.made = made.prefix
    response.headers["Cache-Control"] = "no-store"
    return made


@router.delete("/keys/{prefix}", responses=declared(404))
def revoke_key(prefix: Prefix, context: Services) -> wire.Key:
    """End a key. Every process of the service has taken note two seconds later."""
    return keys.revoke(context, prefix)


@router.get("/audit", responses=declared(404))
def list_audit(
    context: Services,
    project: Annotated[Name | None, Query()] = None,
    after: Annotated[int, Query(ge=0, lt=2**62, description="the `next` of the page before")] = 0,
    limit: Limit = 100,
) -> wire.AuditPage:
    """Requests that changed something or were refused, oldest first. Labels have their own log."""
    return keys.audited(context, project, after, limit)
