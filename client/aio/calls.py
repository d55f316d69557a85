# Made from client/calls.py by `make client`: change that one.
"""What all parts of the SDK share: sending, waiting, paths."""

import csv
import io
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import IO, Any
from urllib.parse import quote

import httpx

from api_schemas import jobs as job_wire
from client.aio import resumable
from client.aio.resumable import OnBytes, send_file, size_of
from client.aio.transport import T, Transport
from client.aio.waiting import Told, lines, pause, tell
from client.errors import JobFailedError, WaitTimeoutError

OnProgress = Callable[[job_wire.Job], Told]


class Calls:
    """Sends requests and waits for jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def _ask(self, kind: type[T], method: str, path: str, *, repeatable: bool = False, **more: Any) -> T:
        return await self._transport.ask(kind, method, path, repeatable=repeatable, **more)

    async def _ask_once(self, kind: type[T], method: str, path: str, *, key: str | None = None, **more: Any) -> T:
        """The answer to a request that the service does once, however often it must be sent."""
        return await self._ask(kind, method, path, repeatable=True, headers=once(key), **more)

    async def job(self, job_id: str) -> job_wire.Job:
        """One job."""
        return await self._ask(job_wire.Job, "GET", f"/jobs/{quote(job_id, safe='')}")

    async def wait_for(
        self, job: job_wire.Job | str, on_progress: OnProgress | None = None, timeout: float = 3600.0
    ) -> job_wire.Job:
        """The job once it has succeeded. Raises JobFailedError, WaitTimeoutError."""
        job_id = job if isinstance(job, str) else job.id
        deadline, seconds = time.monotonic() + timeout, 0.02
        while True:
            found = await self.job(job_id)
            await tell(on_progress, found)
            if found.status == "succeeded":
                return found
            if found.status in {"failed", "cancelled"}:
                reason = found.error.detail if found.error else f"it was {found.status}"
                raise JobFailedError(f"{found.kind} job {job_id} did not succeed: {reason}")
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"{found.kind} job {job_id} is still {found.status} after {timeout:g} seconds")
            await pause(seconds)
            seconds = min(2 * seconds, 0.5)

    async def _events(self, path: str, query: dict[str, str] | None = None) -> AsyncIterator[tuple[str, str]]:
        """(kind, data) of the events of a stream as they come, until the service ends it."""
        kind, data = "message", list[str]()
        async with self._transport.stream(path, query) as answer:
            async for line in lines(answer):
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "event":
                    kind = value
                elif name == "data":
                    data.append(value)
                elif not line:
                    if data:
                        yield kind, "\n".join(data)
                    kind, data = "message", []

    async def _sent(
        self,
        kind: type[T],
        path: str,
        field: str,
        opened: tuple[str, IO[bytes]],
        form: dict[str, str],
        on_bytes: OnBytes | None,
        resume: str | None,
    ) -> T:
        """The answer to a form with a file: big ones are sent before, in parts that survive a lost connection."""
        name, file = opened
        if resume is not None or size_of(file) >= resumable.BIG:
            upload = await send_file(self._transport, file, name, on_bytes, resume)
            # As multipart, like a form with a file.
            return await self._ask_once(kind, "POST", path, files={"upload": (None, upload)}, data=form)
        return await self._ask_once(kind, "POST", path, files={field: (name, file)}, data=form)

    async def _await(
        self, kind: type[T], wait: int | None, on_progress: OnProgress | None, method: str, path: str, **more: Any
    ) -> T:
        """The answer at once, or that of the job which the service names instead."""
        headers = ({} if wait is None else {"Prefer": f"wait={wait}"}) | more.pop("headers", {})
        answer = await self._transport.send(method, path, headers=headers, **more)
        if answer.status_code == httpx.codes.ACCEPTED:
            done = await self.wait_for(self._transport.read(job_wire.Job, answer), on_progress)
            return kind.model_validate(done.result)
        return self._transport.read(kind, answer)


def once(key: str | None = None) -> dict[str, str]:
    """Headers that name a request, by a name of its own if the caller has none."""
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def given(**values: Any) -> dict[str, Any]:
    """What was said: the service's own defaults hold for the rest."""
    return {name: value for name, value in values.items() if value is not None}


def path_of(project: str, part: str | None = None) -> str:
    """The route of a project, or of a part of it."""
    return f"/projects/{quote(project, safe='')}" + (f"/{part}" if part else "")


def listed(items: Sequence[str]) -> str:
    """Ids as one query parameter: separated by commas, quoted where they have any."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(items)
    return row.getvalue()
