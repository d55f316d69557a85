"""Projects."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api_schemas import projects as wire
from service.context import Services
from service.idempotency import OnceOnly
from service.label_studio.backends import Backends
from service.operations import classes, curve, deletion, labeling, projects
from service.problems import declared
from service.routes import items
from service.routes.parameters import Limit, ProjectName

router = APIRouter(tags=["projects"])


@router.post("/projects", status_code=201, responses=declared(400, 409, 413))
def create_project(
    request: wire.ProjectCreate, context: Services, http: Request, response: Response, once: OnceOnly
) -> wire.Project:
    """Create a project: a name, its classes, and how its kernel is computed."""
    http.state.project = request.name
    with once.asked(request).replaying():
        project = projects.create(context, request, once)
    response.headers["Location"] = f"/projects/{project.name}"
    return project


@router.get("/projects")
def list_projects(
    context: Services,
    limit: Limit = 100,
    after: Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = "",
) -> wire.ProjectList:
    """Projects by name."""
    return projects.page(context, after, limit)


@router.get("/projects/{name}", responses=declared(404))
def get_project(name: ProjectName, context: Services) -> wire.Project:
    """A project, how many of its items stand where, and the state of its kernel model."""
    return projects.show(context, name)


@router.delete("/projects/{name}", status_code=202, responses=declared(400, 404, 409))
def delete_project(name: ProjectName, context: Services, http: Request, once: OnceOnly) -> wire.DeletedProject:
    """Delete a project with all that belongs to it. It cannot be undone.

    When this answers, no route knows the project, its jobs are cancelled, and its name is free; what it had is removed
    soon after. With an `Idempotency-Key` it is safe to repeat: it does not hit another project of the same name.
    """
    with once.asked().replaying():
        deleted, connections = deletion.delete(context, name, once)
    backends: Backends = http.app.state.backends
    for connection in connections:
        backends.forget(connection)
    return deleted


@router.patch("/projects/{name}/labeling", responses=declared(400, 404, 409, 413))
def set_labeling(name: ProjectName, request: wire.Labeling, context: Services) -> wire.Project:
    """Choose how several annotators' opinions of an item make its label; those given so far are counted anew."""
    return labeling.change(context, name, request)


@router.post("/projects/{name}/classes", responses=declared(400, 404, 409, 413))
def add_classes(name: ProjectName, request: wire.ClassesAdd, context: Services) -> wire.Project:
    """Append classes; those there are keep their indices. Labels of the new ones count in the kernel model at once."""
    return classes.add(context, name, request)


@router.get("/projects/{name}/curve", responses=declared(404))
def get_curve(
    name: ProjectName,
    context: Services,
    limit: Limit = 100,
    after_seq: Annotated[int, Query(ge=-1, le=2**63 - 1, description="the `next` of the page before")] = -1,
) -> wire.Curve:
    """The learning curve: a point for each time the kernel model took in labels.

    Points of one `label_seq`, from several kernel states, come on one page, which may be longer than `limit` by that.
    """
    return curve.page(context, name, after_seq, limit)


# Here, and so held to the limit of JSON bodies: a pool's own routes take uploads.
router.include_router(items.router)
