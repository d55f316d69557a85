"""Jobs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api_schemas import jobs as wire
from api_schemas.common import Name
from service.context import Services
from service.operations import jobs
from service.problems import declared
from service.routes.parameters import Limit

router = APIRouter(tags=["jobs"])

_ID = r"^[A-Za-z0-9-]{1,64}$"
JobId = Annotated[str, Path(pattern=_ID)]
_POLL_SECONDS = 0.25
_KEEP_ALIVE_SECONDS = 15.0


@router.get("/jobs", responses=declared(404))
def list_jobs(
    context: Services,
    project: Annotated[Name | None, Query()] = None,
    status: Annotated[wire.JobStatus | None, Query()] = None,
    before: Annotated[str | None, Query(pattern=_ID, description="the `next` of the page before")] = None,
    limit: Limit = 50,
) -> wire.JobList:
    """Jobs, newest first, without their results."""
    return jobs.page(context, project=project, status=status, before=before, limit=limit)


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


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=declared(404)
    | {200: {"content": {"text/event-stream": {}}, "description": "`job` events until the job has ended"}},
)
async def job_events(job_id: JobId, context: Services, request: Request) -> StreamingResponse:
    """Server-sent events: the job each time it changes, until it has ended."""
    first = await run_in_threadpool(jobs.show, context, job_id)

    async def events() -> AsyncIterator[str]:
        job, quiet = first, 0.0
        yield _event(job)
        while job.finished_at is None and not await request.is_disconnected():
            await asyncio.sleep(_POLL_SECONDS)
            seen, job = job, await run_in_threadpool(jobs.show, context, job_id)
            quiet = 0.0 if job != seen else quiet + _POLL_SECONDS
            if job != seen:
                yield _event(job)
            elif quiet >= _KEEP_ALIVE_SECONDS:
                quiet = 0.0
                yield ": still here\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _event(job: wire.Job) -> str:
    return f"event: job\ndata: {job.model_dump_json()}\n\n"
