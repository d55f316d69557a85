"""Jobs: what runs, how far it is, how it ended."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from api_schemas.common import Answer, Json

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Progress(Answer):
    """Work done and work in all, in `unit`."""

    done: int
    total: int
    unit: str


class JobError(Answer):
    """Why a job failed."""

    code: str
    detail: str
    job: str | None = Field(default=None, description="a job to wait for before trying again")


JobKind = Literal["prepare", "train", "suggest", "predict", "score", "label_studio"]


class Job(Answer):
    """One piece of work for a worker."""

    id: str
    kind: JobKind
    project: str
    status: JobStatus
    stage: str
    progress: Progress
    eta_seconds: float | None
    attempt: int
    queue_position: int | None = Field(default=None, description="jobs ahead in its queue")
    error: JobError | None = None
    result: Json | None = None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str]


class JobList(Answer):
    """One page of jobs, newest first."""

    jobs: list[Job]
    next: str | None = Field(description="pass as `before` for the next page")


class Health(Answer):
    """Whether the service, or one of its parts, answers."""

    status: Literal["ok", "unavailable"]
    parts: dict[str, str] = Field(default_factory=dict)
