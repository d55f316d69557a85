"""Projects."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api_schemas import projects as wire
from service.context import Services
from service.operations import projects
from service.problems import declared
from service.routes import items
from service.routes.parameters import Limit, ProjectName

router = APIRouter(tags=["projects"])


@router.post("/projects", status_code=201, responses=declared(400, 409, 413))
def create_project(request: wire.ProjectCreate, context: Services, response: Response) -> wire.Project:
    """Create a project: a name, its classes, and how its kernel is computed."""
    project = projects.create(context, request)
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


# Here, and so held to the limit of JSON bodies: a pool's own routes take uploads.
router.include_router(items.router)
