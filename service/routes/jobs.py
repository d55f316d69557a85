"""Jobs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api_schemas import jobs as wire
from api_schemas.common import Name
from service.context import Services
from service.operations import jobs
from service.problems import declared
from service.routes.parameters import Limit

router = APIRouter(tags=["jobs"])

_ID = r"^[A-Za-z0-9-]{1,64}$"
JobId = Annotated[str, Path(pattern=_ID)]


@router.get("/jobs", responses=declared(404))
def list_jobs(
    context: Services,
    project: Annotated[Name | None, Query()] = None,
    status: Annotated[wire.JobStatus | None, Query()] = None,
    kind: Annotated[list[wire.JobKind] | None, Query(description="only of these kinds; may be repeated")] = None,
    before: Annotated[str | None, Query(pattern=_ID, description="the `next` of the page before")] = None,
    limit: Limit = 50,
) -> wire.JobList:
    """Jobs, newest first, without their results."""
    return jobs.page(context, project=project, status=status, kinds=kind, before=before, limit=limit)


@router.get("/jobs/{job_id}", responses=declared(404))
def get_job(job_id: JobId, context: Services) -> wire.Job:
    """How far a job is, or how it ended."""
    return jobs.show(context, job_id)


@router.post("/jobs/{job_id}/cancel", status_code=202, responses=declared(404, 409))
def cancel_job(job_id: JobId, context: Services, request: Request, response: Response) -> wire.Job:
    """Ask a job to stop: at once if it waits, at its next tile if it runs."""
    response.headers["Location"] = f"/jobs/{job_id}"
    job = jobs.cancel(context, job_id)
    request.state.project = job.project
    return job
