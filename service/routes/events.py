"""Live events for pages: jobs, projects and workers as they change."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api_schemas.common import Name
from service.context import Services
from service.event_streams import EventStream, Listener, event
from service.operations import jobs, projects
from service.problems import UnknownError, declared
from service.routes.jobs import JobId
from service.watcher import Watcher
from store import jobs as job_store

router = APIRouter(tags=["events"])


async def _watcher(request: Request) -> Watcher:
    watcher: Watcher = request.app.state.watcher
    return watcher


Watching = Annotated[Watcher, Depends(_watcher)]


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses=declared(404)
    | {
        200: {"content": {"text/event-stream": {}}, "description": "`job`, `project` and `workers` events, without end"}
    },
)
async def all_events(
    context: Services,
    watcher: Watching,
    project: Annotated[Name | None, Query(description="only this project's jobs and standing")] = None,
) -> EventStream:
    """Server-sent events: a snapshot of open jobs, projects and workers, then each of them whenever it changes.

    `job` is what GET /jobs/{id} answers, without the results of suggestions and predictions; `project` says that a page
    about the project should ask anew; `workers` is what GET /workers answers. A reader that falls behind is dropped.
    """
    if project is not None:
        await run_in_threadpool(projects.check, context, project)
    await watcher.ready(context.caller)
    listener = Listener(context.caller, project=project)
    return EventStream(listener, listener.events(), watcher.join, watcher.leave)


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=declared(404)
    | {200: {"content": {"text/event-stream": {}}, "description": "`job` events until the job has ended"}},
)
async def job_events(job_id: JobId, context: Services, watcher: Watching) -> EventStream:
    """Server-sent events: the job each time it changes, until it has ended."""
    await run_in_threadpool(jobs.show, context, job_id)
    await watcher.ready(context.caller)
    listener = Listener(context.caller, job=job_id)

    async def events() -> AsyncIterator[str]:
        # Asked again once the listener has joined: what ended before would never be announced to it.
        job = await run_in_threadpool(jobs.show, context, job_id)
        yield event("job", job.model_dump_json())
        news = listener.events()
        while job.status not in job_store.FINISHED:
            text = await anext(news, None)
            if text is None:
                return
            if text.startswith("event"):
                try:
                    job = await run_in_threadpool(jobs.show, context, job_id)
                except UnknownError:
                    # Its project was deleted: there is nothing more to tell of it.
                    return
                text = event("job", job.model_dump_json())
            yield text

    return EventStream(listener, events(), watcher.join, watcher.leave)
