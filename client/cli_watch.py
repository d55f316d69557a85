"""Watching: a job until it has ended, or a project for as long as one likes."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from client.cli_common import (
    DEFAULT_URL,
    AsJson,
    Key,
    Url,
    accuracies,
    common,
    err,
    follow,
    out,
    project_names,
    run,
    show,
)
from client.cli_jobs import progress_of
from client.cli_routes import with_commands

if TYPE_CHECKING:
    from rich.console import RenderableType

    from api_schemas.jobs import Job
    from api_schemas.projects import Project
    from client.aio.sdk import AsyncClient
    from client.insight_calls import Event
    from client.sdk import Client

    Seen = tuple[Project, list[Job]]  # a project, and its open jobs

_JOB_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_PAUSES = (1.0, 2.0, 5.0, 10.0)  # seconds without a connection before the next try; the last holds from then on
_AWAY = {429, 502, 503, 504}


def watch(
    target: Annotated[str, typer.Argument(help="A job's id, or a project's name.", autocompletion=project_names)],
    seconds: Annotated[
        float | None, typer.Option("--for", help="Stop watching a project after so many seconds.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Follow a job until it has ended, or a project live until Ctrl-C; with --json one object a line."""
    as_json = as_json or common().as_json

    def call(client: "Client") -> "Job | None":
        job = _job(client, target)
        if job is not None:
            return follow(client, job)
        from client.aio.sdk import AsyncClient

        address, secret = url or common().url or DEFAULT_URL, key or common().key
        asyncio.run(_watch_project(AsyncClient(address, secret), target, seconds, as_json=as_json))
        return None

    done = run(url, key, call)
    if done is not None:
        show(done, as_json, f"{done.kind} {done.status}")


def _job(client: "Client", target: str) -> "Job | None":
    """The job of this id; None where it is a project's name. Raises ApiError where it is neither."""
    from client.errors import ApiError

    if not _JOB_ID.fullmatch(target):
        client.project(target)
        return None
    try:
        return client.job(target)
    except ApiError as unknown:
        if unknown.code != "unknown_job":
            raise
        try:
            client.project(target)
        except ApiError as error:
            raise (unknown if target.startswith("job-") else error) from None
    return None


async def _watch_project(client: "AsyncClient", name: str, seconds: float | None, *, as_json: bool) -> None:
    with suppress(TimeoutError):
        async with client:
            if as_json or not out.is_terminal:
                await _tell(client, name, seconds, _as_json if as_json else _as_line)
                return
            from rich.live import Live

            with Live(console=out, auto_refresh=False) as live:
                await _tell(client, name, seconds, lambda seen: live.update(_panel(*seen), refresh=True))


async def _tell(client: "AsyncClient", name: str, seconds: float | None, told: "Callable[[Seen], None]") -> None:
    """Tells how the project is, and again whenever that has changed. Raises TimeoutError at the end."""
    told(before := await _now(client, name))
    async with asyncio.timeout(seconds), aclosing(_changes(client, name, before)) as changes:
        async for seen in changes:
            told(seen)


async def _now(client: "AsyncClient", name: str) -> "Seen":
    return await client.project(name), [job for job in await client.jobs(name, 20) if job.finished_at is None]


async def _changes(client: "AsyncClient", name: str, before: "Seen") -> "AsyncGenerator[Seen, None]":
    """What there is to see, whenever the service says that something happened and it is not what was seen before.

    A connection that is lost is made anew, as often as it takes: the service begins by saying how things stand.
    """
    from client.errors import ApiError, UnreachableError

    failures = 0
    while True:
        try:
            async with aclosing(cast("AsyncGenerator[Event, None]", client.events(name))) as events:
                async for event in events:
                    if failures:
                        err.print("Connected again.")
                    failures = 0
                    if event in before[1]:
                        continue
                    now = await _now(client, name)
                    if now != before:
                        yield now
                    before = now
            reason = "The service has ended the connection."
        except UnreachableError:
            reason = f"The connection is lost: {client.url} does not answer."
        except ApiError as error:
            if error.status not in _AWAY:
                raise
            reason = f"The service cannot tell what happens: {error.detail}."
        if not failures:
            err.print(f"{reason} Trying again until it is back.")
        await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
        failures += 1


def _as_json(seen: "Seen") -> None:
    sys.stdout.write(json.dumps(_plain(*seen)) + "\n")
    sys.stdout.flush()


def _as_line(seen: "Seen") -> None:
    out.print(" ".join(_lines(*seen)))


def _plain(project: "Project", jobs: "list[Job]") -> dict[str, Any]:
    return {"project": project.model_dump(mode="json"), "jobs": [job.model_dump(mode="json") for job in jobs]}


def _lines(project: "Project", jobs: "list[Job]") -> list[str]:
    sure = "".join(f", {said}" for said in accuracies(project))
    return [
        f"{project.name}: {project.labels} labeled, {project.skips} skipped, {project.unlabeled} to go, "
        f"{project.open_suggestions} held{sure}.",
        *(f"{job.kind}: {job.stage} {progress_of(job)}".rstrip() + "." for job in jobs),
        *map(with_commands, project.advice),
    ]


def _panel(project: "Project", jobs: "list[Job]") -> "RenderableType":
    from rich.panel import Panel
    from rich.text import Text

    return Panel(Text("\n".join(_lines(project, jobs))), title=Text(project.name))
