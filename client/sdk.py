"""The SDK: one method per route, typed answers, retries where they are safe."""

import csv
import io
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from api_schemas import jobs as job_wire
from api_schemas import labels as label_wire
from api_schemas import projects as project_wire
from api_schemas import suggest as suggest_wire
from api_schemas.common import Problem
from client.errors import ApiError, JobFailedError, UnreachableError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

DEFAULT_URL = "http://127.0.0.1:8000"
T = TypeVar("T", bound=BaseModel)
OnProgress = Callable[[job_wire.Job], None]


class Client:
    """A connection to one service. Also a context manager."""

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None, timeout: float = 120.0) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    # Projects and pools

    def create_project(self, name: str, classes: Sequence[str], **more: Any) -> project_wire.Project:
        """`more`: kernel and defaults, as the interface has them."""
        body = {"name": name, "classes": list(classes), **more}
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
        data: "Path | Array",
        ids: Sequence[str] | None = None,
        *,
        held_out: bool = False,
    ) -> project_wire.PoolAdded:
        """Add items from a file as it is, or from an array (N, ...) with optional ids."""
        form = {"held_out": "true" if held_out else "false"}
        with _opened(data, ids) as (name, file):
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

    # Checkpoints and jobs

    def upload_checkpoint(
        self,
        project: str,
        weights: Path | bytes,
        architecture: str,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> job_wire.Job:
        """Upload safetensors; `more`: loss and kernel. Returns the job that prepares the checkpoint."""
        manifest = json.dumps({"architecture": architecture, "options": dict(options or {}), **more})
        content = weights if isinstance(weights, bytes) else weights.read_bytes()
        return self._ask(
            job_wire.Job,
            "POST",
            _path(project, "checkpoints"),
            files={"weights": ("weights.safetensors", content)},
            data={"manifest": manifest},
        )

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
        """The job once it has succeeded. Raises JobFailedError."""
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
                raise JobFailedError(f"{found.kind} job {job_id} is still {found.status} after {timeout:g} seconds")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    # Labels

    def label(
        self, project: str, item: str, label: str | int | None, *, annotator: str | None = None
    ) -> label_wire.LabelAccepted:
        """Record a label; None withdraws it. Safe to repeat: it carries an id of its own."""
        return self._label({"project": project, "item": item, "label": label, "annotator": annotator})

    def skip(self, project: str, item: str, *, annotator: str | None = None) -> label_wire.LabelAccepted:
        """Say that the item is not to be labeled."""
        return self._label({"project": project, "item": item, "skip": True, "annotator": annotator})

    def _label(self, body: dict[str, Any]) -> label_wire.LabelAccepted:
        body["event_id"] = uuid.uuid4().hex
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
        self, project: str, count: int = 1, *, on_progress: OnProgress | None = None, **more: Any
    ) -> suggest_wire.SuggestAnswer:
        """What to label next; `more`: strategy, options, annotator, lease_seconds, seed. Waits for the answer."""
        body = {"project": project, "count": count, **more}
        return self._await(suggest_wire.SuggestAnswer, on_progress, "POST", "/suggest", json=body)

    def predictions(
        self, project: str, items: Sequence[str], source: Literal["linearized", "network"] = "linearized"
    ) -> suggest_wire.PredictionsAnswer:
        """Outputs for items, in the order asked."""
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(items)
        query = {"items": row.getvalue(), "source": source}
        return self._await(suggest_wire.PredictionsAnswer, None, "GET", _path(project, "predictions"), params=query)

    def strategies(self) -> list[suggest_wire.Strategy]:
        """Every strategy."""
        return self._ask(suggest_wire.StrategyList, "GET", "/strategies").strategies

    # Calls

    def _await(self, kind: type[T], on_progress: OnProgress | None, method: str, path: str, **more: Any) -> T:
        answer = self._send(method, path, repeatable=method == "GET", **more)
        if answer.status_code == httpx.codes.ACCEPTED:
            done = self.wait_for(job_wire.Job.model_validate_json(answer.content), on_progress)
            return kind.model_validate(done.result)
        return kind.model_validate_json(answer.content)

    def _ask(self, kind: type[T], method: str, path: str, *, repeatable: bool = False, **more: Any) -> T:
        answer = self._send(method, path, repeatable=repeatable or method == "GET", **more)
        return kind.model_validate_json(answer.content)

    def _send(self, method: str, path: str, *, repeatable: bool, **more: Any) -> httpx.Response:
        """Send, and send again when the connection fails, if that cannot do anything twice."""
        for tries_left in (2, 1, 0):
            try:
                answer = self._http.request(method, path, **more)
                break
            except httpx.TransportError as error:
                # A connection that was never made has done nothing: any request may try again then.
                if tries_left == 0 or not (repeatable or isinstance(error, httpx.ConnectError)):
                    raise UnreachableError(
                        f"{self._http.base_url} does not answer ({type(error).__name__}): is the service running? "
                        "`lookahead up` starts one; --url or LOOKAHEAD_URL names another"
                    ) from error
                time.sleep(0.3)
        if answer.is_success:
            return answer
        raise ApiError(_problem(answer))


def _problem(answer: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(answer.content)
    except ValueError:
        # Not from the service but from something in between.
        return Problem(
            type="about:blank",
            title=answer.reason_phrase,
            status=answer.status_code,
            detail=f"status {answer.status_code} without a problem body",
            code="http_error",
            request_id="",
        )


def _path(project: str, part: str | None = None) -> str:
    return f"/projects/{quote(project, safe='')}" + (f"/{part}" if part else "")


class _opened:  # noqa: N801 - used like a function
    """(file name, open file) of a path, or of an array written as .npz."""

    def __init__(self, data: "Path | Array", ids: Sequence[str] | None) -> None:
        self._data, self._ids = data, ids
        self._file: IO[bytes] | None = None

    def __enter__(self) -> tuple[str, IO[bytes]]:
        if isinstance(self._data, Path):
            self._file = self._data.open("rb")
            return self._data.name, self._file
        import numpy as np

        arrays = {"x": self._data} | ({} if self._ids is None else {"ids": np.array(self._ids, dtype=str)})
        self._file = io.BytesIO()
        np.savez(self._file, **arrays)
        self._file.seek(0)
        return "pool.npz", self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
