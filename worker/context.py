"""What every job works with, made once per worker process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from redis import Redis

from store.artifacts import Artifacts
from store.database import Sessions
from store.vault import Vault
from telemetry.traces import Tracing
from worker.insights import Insights
from worker.metrics import Instruments

if TYPE_CHECKING:
    from worker.live_states import LiveStates


@dataclass
class Context:
    """Connections, the compute device and the live states of this process."""

    sessions: Sessions
    redis: Redis
    artifacts: Artifacts
    device: torch.device
    live: "LiveStates"
    name: str
    kernel_bytes: int = 1 << 30
    serves_inbox: bool = False  # the warm lane runs: others may be told that this worker keeps a project warm
    keep_jobs: timedelta | None = None
    private_addresses: str = "auto"  # may Label Studio be at a private address: on, off, auto: as the service decided
    label_studio_every: timedelta = timedelta(seconds=300)
    stopping: threading.Event = field(default_factory=threading.Event)
    metrics: Instruments = field(default_factory=Instruments)
    insights: Insights = field(default_factory=Insights)
    tracing: Tracing = field(default_factory=Tracing)
    vault: Vault = field(default_factory=Vault)

    def __post_init__(self) -> None:
        self.live.metrics = self.metrics

    def on_lap(self, family: str) -> Callable[[str, float], None]:
        """For a stopwatch: its stages in seconds become metrics of this family of strategies, and spans."""

        def lapped(stage: str, seconds: float) -> None:
            self.metrics.stage_seconds.labels(family, stage).observe(seconds)
            self.tracing.record(stage, seconds)

        return lapped


_current: Context | None = None


def install(context: Context) -> None:
    """Make this the context of jobs that the queue calls by name."""
    global _current
    _current = context


def current() -> Context:
    """The installed context."""
    if _current is None:
        raise RuntimeError("no worker context: start jobs through worker.main")
    return _current
