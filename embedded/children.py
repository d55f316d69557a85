"""What the supervisor keeps running, and when it starts it again."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

# Ending sooner than this counts as not having started; later, as having been killed.
SETTLED_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_PAUSE_MAX_SECONDS = 5.0


@dataclass
class Restarts:
    """How often in a row something ended soon after its start, and when to start it again."""

    early_ends: int = 0
    started: float = field(default_factory=time.monotonic)
    due: float | None = None

    def start(self) -> None:
        """It was started just now."""
        self.started = time.monotonic()
        self.due = None

    def end(self) -> None:
        """It ended just now: at once after a long life, later and later after short ones."""
        now = time.monotonic()
        if now - self.started > SETTLED_SECONDS:
            self.early_ends = 0
        pause = min(_PAUSE_SECONDS * 2.0**self.early_ends, _PAUSE_MAX_SECONDS)
        self.early_ends += 1
        self.due = now + (pause if self.early_ends > 1 else 0)

    def is_due(self) -> bool:
        """Whether it is to be started now."""
        return self.due is not None and time.monotonic() >= self.due


@dataclass
class Child:
    """A process to keep running, at a lower priority where `nice` says so."""

    name: str
    command: Sequence[str]
    nice: int = 0
    stop_seconds: float = 15.0
    process: subprocess.Popen[bytes] | None = None
    restarts: Restarts = field(default_factory=Restarts)


def default_children(workers: int = 1) -> list[Child]:
    """The service, one bulk and so many interactive workers; stopped in this order, the workers together."""
    # A labeler who waits comes before a window in the making: the bulk worker yields the processor.
    interactive = ["worker-interactive", *(f"worker-interactive-{number}" for number in range(2, workers + 1))]
    return [
        Child("service", [sys.executable, "-m", "service"]),
        Child("worker-bulk", [sys.executable, "-m", "worker", "--queues", "bulk"], nice=10),
        *(Child(name, [sys.executable, "-m", "worker", "--queues", "interactive"]) for name in interactive),
    ]
