"""The SDK: one method per route, typed answers, retries where they are safe."""

import csv
import io
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack
from urllib.parse import quote

import httpx

from api_schemas import jobs as job_wire
from api_schemas import labels as label_wire
from api_schemas import projects as project_wire
from api_schemas import suggest as suggest_wire
from client.errors import JobFailedError, WaitTimeoutError
from client.training import TrainSettings
from client.transport import T, Transport
from client.uploads import pool_file, weights_bytes

if TYPE_CHECKING:
    from client.uploads import Array

DEFAULT_URL = "http://127.0.0.1:8000"
OnProgress = Callable[[job_wire.Job], None]


class Client:
    """A connection to one service. Also a context manager."""

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None, timeout: float = 120.0) -> None:
        self._transport = Transport(url, key, timeout)
        self._ask = self._transport.ask

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    # Projects and pools

    def create_project(
        self,
        name: str,
        classes: Sequence[str],
        *,
        kernel: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> project_wire.Project:
        """A new project; `kernel` and `defaults` as the interface has them."""
        body = {"name": name, "classes": list(classes), **_given(kernel=kernel, defaults=defaults)}
        return self._ask(project_wire.Project, "POST", "/projects", json=body)

    def project(self, name: str) -> project_wire.Project:
        """One project."""
        return self._ask(project_wire.Project, "GET", _path(name))

    def projects(self) -> Iterable[project_wire.Project]:
        """Every project, page by page."""
        after: str | None = ""
        while after is not None:
            page = self._ask(project_wire.ProjectList, "GET", "/projects", params={"after": after})
            yield from page.projects
            after = page.next

    def upload_pool(
        self,
        project: str,
        data: "Path | str | Array",
        ids: Sequence[str] | None = None,
        *,
        held_out: bool = False,
    ) -> project_wire.PoolAdded:
        """Add items from a file as it is, or from an array (N, ...) with optional ids."""
        form = {"held_out": "true" if held_out else "false"}
        with pool_file(data, ids) as (name, file):
            return self._ask(
                project_wire.PoolAdded, "POST", _path(project, "pool"), files={"file": (name, file)}, data=form
            )

    def items(self, project: str, state: str | None = None) -> Iterable[project_wire.Item]:
        """Items in pool order, page by page."""
        after: int | None = -1
        while after is not None:
            query = {"after": after, "limit": 1000} | ({"state": state} if state else {})
            page = self._ask(project_wire.ItemPage, "GET", _path(project, "items"), params=query)
            yield from page.items
            after = page.next

    def set_attributes(
        self, project: str, attributes: Mapping[str, Mapping[str, str | float | bool | None]]
    ) -> project_wire.AttributesUpdated:
        """Merge values by key into the attributes of items by id: all of them, or none. None removes a key.

        Safe to repeat: the same values again change nothing.
        """
        body = {"attributes": {item: dict(values) for item, values in attributes.items()}}
        return self._ask(project_wire.AttributesUpdated, "PATCH", _path(project, "items"), repeatable=True, json=body)

    # Checkpoints and jobs

    def upload_checkpoint(
        self,
        project: str,
        weights: "Path | str | bytes | Mapping[str, Array]",
        architecture: str,
        options: Mapping[str, Any] | None = None,
        *,
        loss: Literal["squared", "cross_entropy"] | None = None,
        kernel: Mapping[str, Any] | None = None,
    ) -> job_wire.Job:
        """Upload weights: safetensors, a state dict of torch.save, or numpy arrays by state-dict key.

        Bytes and files are recognised by their content. Returns the job that prepares them.
        """
        manifest = {"architecture": architecture, **_given(options=options, loss=loss, kernel=kernel)}
        return self._ask(
            job_wire.Job,
            "POST",
            _path(project, "checkpoints"),
            files={"weights": ("weights", weights_bytes(weights))},
            data={"manifest": json.dumps(manifest)},
        )

    def train(
        self,
        project: str,
        architecture: str | None = None,
        options: Mapping[str, Any] | None = None,
        **settings: Unpack[TrainSettings],
    ) -> job_wire.Job:
        """Train a built-in architecture on the labels so far; without labels it keeps its initial weights.

        Returns the job: once it has succeeded, its checkpoint is active.
        """
        body = _given(architecture=architecture, options=options, **settings)
        return self._ask(job_wire.Job, "POST", _path(project, "train"), json=body)

    def jobs(self, project: str | None = None, limit: int = 50) -> list[job_wire.Job]:
        """The newest jobs."""
        query: dict[str, Any] = {"limit": limit} | ({"project": project} if project else {})
        return self._ask(job_wire.JobList, "GET", "/jobs", params=query).jobs

    def job(self, job_id: str) -> job_wire.Job:
        """One job."""
        return self._ask(job_wire.Job, "GET", f"/jobs/{quote(job_id, safe='')}")

    def cancel(self, job_id: str) -> job_wire.Job:
        """Ask a job to stop."""
        return self._ask(job_wire.Job, "POST", f"/jobs/{quote(job_id, safe='')}/cancel")

    def wait_for(
        self, job: job_wire.Job | str, on_progress: OnProgress | None = None, timeout: float = 3600.0
    ) -> job_wire.Job:
        """The job once it has succeeded. Raises JobFailedError, WaitTimeoutError."""
        job_id = job if isinstance(job, str) else job.id
        deadline, pause = time.monotonic() + timeout, 0.02
        while True:
            found = self.job(job_id)
            if on_progress is not None:
                on_progress(found)
            if found.status == "succeeded":
                return found
            if found.status in {"failed", "cancelled"}:
                reason = found.error.detail if found.error else f"it was {found.status}"
                raise JobFailedError(f"{found.kind} job {job_id} did not succeed: {reason}")
            if time.monotonic() > deadline:
                raise WaitTimeoutError(f"{found.kind} job {job_id} is still {found.status} after {timeout:g} seconds")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    # Labels

    def label(
        self,
        project: str,
        item: str,
        label: str | int | None,
        *,
        annotator: str | None = None,
        event_id: str | None = None,
    ) -> label_wire.LabelAccepted:
        """Record a label, by class name or index. Safe to repeat: it carries an id, yours or one of its own."""
        return self._label(project, item, {"label": label}, annotator, event_id)

    def skip(
        self, project: str, item: str, *, annotator: str | None = None, event_id: str | None = None
    ) -> label_wire.LabelAccepted:
        """Say that the item is not to be labeled."""
        return self._label(project, item, {"skip": True}, annotator, event_id)

    def withdraw(
        self, project: str, item: str, *, annotator: str | None = None, event_id: str | None = None
    ) -> label_wire.LabelAccepted:
        """Take back the item's label or skip."""
        return self._label(project, item, {"label": None}, annotator, event_id)

    def _label(
        self, project: str, item: str, said: dict[str, Any], annotator: str | None, event_id: str | None
    ) -> label_wire.LabelAccepted:
        body = {"project": project, "item": item, **said, **_given(annotator=annotator)}
        body["event_id"] = event_id or uuid.uuid4().hex
        return self._ask(label_wire.LabelAccepted, "POST", "/label", repeatable=True, json=body)

    def labels(self, project: str, entries: Iterable[tuple[str, str | int]]) -> label_wire.LabelsAccepted:
        """Record many labels: all of them, or none."""
        body = {"project": project, "labels": [{"item": item, "label": label} for item, label in entries]}
        return self._ask(label_wire.LabelsAccepted, "POST", "/labels", json=body)

    def upload_labels(self, project: str, path: Path) -> label_wire.LabelsAccepted:
        """Record the labels in a CSV or JSON-lines file: all of them, or none."""
        with path.open("rb") as file:
            return self._ask(
                label_wire.LabelsAccepted,
                "POST",
                "/labels",
                files={"file": (path.name, file)},
                data={"project": project},
            )

    def label_log(self, project: str, after_seq: int = 0) -> Iterable[label_wire.LabelEvent]:
        """The log past `after_seq`, page by page."""
        after: int | None = after_seq
        while after is not None:
            query: dict[str, Any] = {"project": project, "after_seq": after}
            page = self._ask(label_wire.LabelPage, "GET", "/labels", params=query)
            yield from page.labels
            after = page.next

    # Suggestions

    def suggest(
        self,
        project: str,
        count: int = 1,
        *,
        strategy: str | None = None,
        options: Mapping[str, Any] | None = None,
        annotator: str | None = None,
        lease_seconds: int | None = None,
        seed: int | None = None,
        wait: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> suggest_wire.SuggestAnswer:
        """What to label next. Waits for the answer; one that takes more than `wait` seconds reports progress."""
        more = _given(strategy=strategy, options=options, annotator=annotator, lease_seconds=lease_seconds, seed=seed)
        body = {"project": project, "count": count, **more}
        return self._await(suggest_wire.SuggestAnswer, wait, on_progress, "POST", "/suggest", json=body)

    def predictions(
        self,
        project: str,
        items: Sequence[str],
        source: Literal["linearized", "network"] = "linearized",
        *,
        wait: int | None = None,
    ) -> suggest_wire.PredictionsAnswer:
        """Outputs for items, in the order asked."""
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(items)
        query = {"items": row.getvalue(), "source": source}
        path = _path(project, "predictions")
        return self._await(suggest_wire.PredictionsAnswer, wait, None, "GET", path, params=query)

    def strategies(self) -> list[suggest_wire.Strategy]:
        """Every strategy."""
        return self._ask(suggest_wire.StrategyList, "GET", "/strategies").strategies

    # Calls

    def _await(
        self, kind: type[T], wait: int | None, on_progress: OnProgress | None, method: str, path: str, **more: Any
    ) -> T:
        """The answer at once, or that of the job which the service names instead."""
        headers = {} if wait is None else {"Prefer": f"wait={wait}"}
        answer = self._transport.send(method, path, headers=headers, **more)
        if answer.status_code == httpx.codes.ACCEPTED:
            done = self.wait_for(self._transport.read(job_wire.Job, answer), on_progress)
            return kind.model_validate(done.result)
        return self._transport.read(kind, answer)


def _given(**values: Any) -> dict[str, Any]:
    """What was said: the service's own defaults hold for the rest."""
    return {name: value for name, value in values.items() if value is not None}


def _path(project: str, part: str | None = None) -> str:
    return f"/projects/{quote(project, safe='')}" + (f"/{part}" if part else "")
