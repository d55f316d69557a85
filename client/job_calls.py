"""Checkpoints, training and jobs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack
from urllib.parse import quote

from api_schemas import jobs as job_wire
from client.calls import Calls, given, path_of
from client.resumable import OnBytes
from client.training import TrainSettings
from client.uploads import weights_file

if TYPE_CHECKING:
    from client.uploads import Array


class JobCalls(Calls):
    """Checkpoints, training and the jobs that they are."""

    def upload_checkpoint(
        self,
        project: str,
        weights: "Path | str | bytes | Mapping[str, Array]",
        architecture: str,
        options: Mapping[str, Any] | None = None,
        *,
        loss: Literal["squared", "cross_entropy"] | None = None,
        kernel: Mapping[str, Any] | None = None,
        on_bytes: OnBytes | None = None,
        resume: str | None = None,
    ) -> job_wire.Job:
        """Upload weights: safetensors, a state dict of torch.save, or numpy arrays by state-dict key.

        Bytes and files are recognised by their content; big ones go as in `upload_pool`. Returns the job that
        prepares them.
        """
        manifest = {"architecture": architecture, **given(options=options, loss=loss, kernel=kernel)}
        form = {"manifest": json.dumps(manifest)}
        with weights_file(weights) as opened:
            return self._sent(job_wire.Job, path_of(project, "checkpoints"), "weights", opened, form, on_bytes, resume)

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
        body = given(architecture=architecture, options=options, **settings)
        return self._ask_once(job_wire.Job, "POST", path_of(project, "train"), json=body)

    def jobs(
        self,
        project: str | None = None,
        limit: int = 50,
        *,
        status: job_wire.JobStatus | None = None,
        kind: job_wire.JobKind | Sequence[job_wire.JobKind] | None = None,
        before: str | None = None,
    ) -> list[job_wire.Job]:
        """The newest jobs, of one project, status or kind if asked, or those before the job `before`."""
        query: dict[str, Any] = {"limit": limit, **given(project=project, status=status, kind=kind, before=before)}
        return self._ask(job_wire.JobList, "GET", "/jobs", params=query).jobs

    def job_events(self, job_id: str) -> Iterator[job_wire.Job]:
        """The job each time it changes, until it has ended."""
        for kind, data in self._events(f"/jobs/{quote(job_id, safe='')}/events"):
            if kind == "job":
                yield job_wire.Job.model_validate_json(data)

    def cancel(self, job_id: str) -> job_wire.Job:
        """Ask a job to stop."""
        return self._ask(job_wire.Job, "POST", f"/jobs/{quote(job_id, safe='')}/cancel")
