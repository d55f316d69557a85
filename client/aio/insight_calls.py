# Made from client/insight_calls.py by `make client`: change that one.
"""Workers, how a project's kernel model looks inside, and live events."""

from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from api_schemas import diagnostics as wire
from api_schemas import jobs as job_wire
from api_schemas import workers as worker_wire
from api_schemas.events import ProjectEvent
from client.aio.calls import Calls, given, path_of

Event = job_wire.Job | ProjectEvent | worker_wire.Workers
_KINDS: dict[str, type[Event]] = {"job": job_wire.Job, "project": ProjectEvent, "workers": worker_wire.Workers}


class InsightCalls(Calls):
    """Workers, diagnostics, held-out labels and live events."""

    async def workers(self) -> worker_wire.Workers:
        """Workers with what they hold and do, queues, and how long labels and suggestions take."""
        return await self._ask(worker_wire.Workers, "GET", "/workers")

    async def diagnostics(self, project: str) -> wire.Diagnostics:
        """Spectrum, scores, class balance, arrivals, drift and held-out accuracy of a project."""
        return await self._ask(wire.Diagnostics, "GET", path_of(project, "diagnostics"))

    async def held_out_labels(
        self, project: str, labels: Mapping[str, str | int | None] | Iterable[tuple[str, str | int | None]]
    ) -> wire.HeldOutLabelsAccepted:
        """Say what held-out items truly are, by item; None takes it back. Safe to repeat."""
        pairs = labels.items() if isinstance(labels, Mapping) else labels
        body = {"labels": [{"item": item, "label": label} for item, label in pairs]}
        return await self._ask(
            wire.HeldOutLabelsAccepted, "POST", path_of(project, "held-out-labels"), repeatable=True, json=body
        )

    async def upload_held_out_labels(self, project: str, path: Path) -> wire.HeldOutLabelsAccepted:
        """Say what held-out items truly are, from a CSV file with columns item, label, or JSON lines."""
        with path.open("rb") as file:
            return await self._ask(
                wire.HeldOutLabelsAccepted,
                "POST",
                path_of(project, "held-out-labels"),
                files={"file": (path.name, file)},
            )

    async def events(self, project: str | None = None) -> AsyncIterator[Event]:
        """Jobs, projects' standings and workers: a snapshot, then each whenever it changes, until the service ends.

        Raises ApiError, UnreachableError; also when the connection breaks: begin again then, with a snapshot.
        """
        async for kind, data in self._events("/events", given(project=project)):
            if kind in _KINDS:
                yield _KINDS[kind].model_validate_json(data)
