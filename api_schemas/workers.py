"""Workers, queues and how long things take."""

from typing import Literal

from pydantic import Field

from api_schemas.common import Answer


class WarmProject(Answer):
    """A project whose kernel model a worker holds in memory."""

    project: str
    kernel: str
    bytes: int = Field(description="memory of the kernel model, on the device and beside")
    labeled: int = Field(description="labels in it")


class Worker(Answer):
    """A worker process that lives."""

    name: str = Field(description="as in logs")
    process: str | None = Field(description="as in metrics; null until it has published its first numbers")
    host: str | None
    device: str | None
    queues: list[str]
    state: Literal["busy", "idle"]
    job: str | None = Field(description="the job that it has run longest, if it is of a project that the key sees")
    heartbeat_seconds: float = Field(description="since its last sign of life")
    warm: list[WarmProject] = Field(description="of the projects that the key sees")
    memory_bytes: int | None = Field(description="resident memory of the process")


class Queue(Answer):
    """A queue, by the database."""

    name: str
    waiting: int = Field(description="jobs that no worker has taken yet")
    oldest_seconds: float = Field(description="age of the one that has waited longest; 0 if none waits")
    workers: int = Field(description="workers that serve it")


class Latency(Answer):
    """Quantiles in seconds, estimated from the histograms of all processes since each began; null without a sample."""

    what: Literal["label_to_suggestion", "suggest", "label"] = Field(
        description="label_to_suggestion: age of the newest label that a suggestion is the first to know, when it is "
        "stored; suggest and label: time of POST /suggest and POST /label"
    )
    count: int
    p50: float | None
    p90: float | None
    p99: float | None


class Workers(Answer):
    """What runs where, and how fast."""

    workers: list[Worker]
    queues: list[Queue]
    latencies: list[Latency]
