"""Label Studio: connections to its projects, and the ML backend that each of them calls."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from api_schemas import jobs as job_wire
from api_schemas import label_studio as wire
from service.context import Services
from service.label_studio.backends import Backend, Backends
from service.operations import label_studio, label_studio_backend
from service.operations.jobs import links
from service.problems import InvalidError, declared
from service.scopes import BACKEND

router = APIRouter(tags=["label studio"])

Prefix = Annotated[str, Path(pattern=r"^[0-9a-f]{8}$", description="the connection's id")]
_ANY_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}
_REFUSALS = declared(401, 429)


async def _backend(
    request: Request, token: Annotated[str, Path(description="the connection's secret, from its backend's address")]
) -> Backend:
    """The connection whose token is in the address: before anything of the body is read."""
    backends: Backends = request.app.state.backends
    client = request.client.host if request.client else "local"
    return await run_in_threadpool(backends.admit, token, client)


async def _body(request: Request, _: Annotated[Backend, Depends(_backend)]) -> Any:
    """The body as JSON, whatever its declared type. Raises InvalidError."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise InvalidError("invalid_request", "the body is no JSON") from error


Called = Annotated[Backend, Depends(_backend)]
Body = Annotated[Any, Depends(_body)]


@router.post("/label-studio", status_code=201, responses=declared(400, 404, 409, 413))
def connect_label_studio(
    request: wire.ConnectionCreate, context: Services, response: Response, http: Request
) -> wire.NewConnection:
    """Connect a project of Label Studio. This answer is the only one that has the backend's address."""
    http.state.project = request.project
    made = label_studio.create(context, request)
    response.headers["Cache-Control"] = "no-store"
    return made


@router.get("/label-studio")
def list_connections(context: Services) -> wire.ConnectionList:
    """All connections, oldest first."""
    return label_studio.page(context)


@router.post("/label-studio/{connection}/sync", status_code=202, responses=declared(400, 404, 409, 413))
def sync_connection(
    connection: Prefix, context: Services, response: Response, request: wire.ConnectionSync | None = None
) -> job_wire.Job:
    """Read what is new in Label Studio, mend what its webhooks missed, and make the order anew."""
    job = label_studio.sync(context, connection, request or wire.ConnectionSync())
    response.headers.update(links(job.id))
    return job


@router.delete("/label-studio/{connection}", responses=declared(404))
def disconnect_label_studio(connection: Prefix, context: Services, http: Request) -> wire.EndedConnection:
    """End a connection, here and in Label Studio: its backend's address stops working. Labels stay."""
    ended = label_studio.end(context, connection)
    backends: Backends = http.app.state.backends
    backends.forget(connection)
    return ended


@router.get("/label-studio/{token}/health", responses=_REFUSALS)
def backend_health(_: Called) -> wire.BackendHealth:
    """Of the ML backend: it answers."""
    return wire.BackendHealth()


@router.post("/label-studio/{token}/setup", responses=_REFUSALS | declared(400, 413), openapi_extra=_ANY_BODY)
def backend_setup(backend: Called, context: Services, _: Body) -> wire.BackendSetup:
    """Of the ML backend: the version of its predictions. Asked on every look at a task, so nothing is loaded."""
    return label_studio_backend.version(context, backend)


@router.post("/label-studio/{token}/predict", responses=_REFUSALS | declared(400, 413), openapi_extra=_ANY_BODY)
async def backend_predict(backend: Called, context: Services, body: Body) -> wire.BackendPredictions:
    """Of the ML backend: pre-annotations for tasks, in the order asked; empty ones for tasks that we do not know."""
    return await label_studio_backend.predict(context, backend, body)


@router.post(
    "/label-studio/{token}/webhook",
    status_code=201,
    responses=_REFUSALS | declared(400, 413),
    openapi_extra=_ANY_BODY,
)
def backend_webhook(backend: Called, context: Services, body: Body) -> wire.BackendHeard:
    """Of the ML backend: what happened in the project. Annotations are in the label log when this answers."""
    return label_studio_backend.hear(context, backend, body)


@router.get("/label-studio/{token}/versions", responses=_REFUSALS)
def backend_versions(backend: Called, context: Services) -> wire.BackendVersions:
    """Of the ML backend: the version of its predictions."""
    return wire.BackendVersions(versions=[label_studio_backend.version(context, backend).model_version])


@router.post("/label-studio/{token}/job_status", responses=_REFUSALS)
def backend_job_status(backend: Called, context: Services) -> wire.BackendJob:
    """Of the ML backend: how the newest training stands."""
    return label_studio_backend.training(context, backend)


for _method, _name in BACKEND:
    # Addresses are put together by people and by Label Studio: a slash at the end means the same.
    router.add_api_route(
        f"/label-studio/{{token}}/{_name}/",
        globals()[f"backend_{_name}"],
        methods=[_method],
        status_code=201 if _name == "webhook" else 200,
        include_in_schema=False,
    )
