"""What was sent, what was acknowledged, and what was answered otherwise; shared by all threads."""

import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Event:
    """A label event as a client sent it; `seq` is there once it was acknowledged."""

    client: str
    event_id: str
    item: str
    kind: str  # label | skip | withdraw
    label: str | None
    annotator: str
    seq: int | None = None


@dataclass(frozen=True)
class Oddity:
    """An answer or a state of affairs that should not be."""

    at: float  # seconds since the run began
    client: str
    what: str


@dataclass
class Record:
    """Lists only grow; one lock for all."""

    began: float = field(default_factory=time.monotonic)
    events: list[Event] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, event: Event) -> None:
        """Before the first try."""
        with self._lock:
            self.events.append(event)

    def answered(self, request: str, outcome: str) -> None:
        """Count an answer, or its absence."""
        with self._lock:
            self.answers[f"{request}: {outcome}"] += 1

    def took(self, request: str, seconds: float) -> None:
        """From the first try to the good answer, as the client saw it."""
        with self._lock:
            self.seconds.setdefault(request, []).append(seconds)

    def odd(self, client: str, what: str) -> None:
        """Something that fails the run."""
        with self._lock:
            self.oddities.append(Oddity(round(time.monotonic() - self.began, 3), client, what))

    def snapshot(self) -> list[Event]:
        """All events sent so far, in the order in which each client sent them."""
        with self._lock:
            return list(self.events)

    def summary(self) -> dict[str, Any]:
        """For the report."""
        with self._lock:
            waits = {request: quantiles(values) for request, values in sorted(self.seconds.items())}
            return {
                "answers": dict(sorted(self.answers.items())),
                "seconds": waits,
                "sent": len(self.events),
                "acknowledged": sum(event.seq is not None for event in self.events),
                "oddities": [asdict(oddity) for oddity in self.oddities],
            }


def quantiles(values: list[float]) -> dict[str, float]:
    """Count, median, 99th percentile and maximum, by the nearest rank."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 3)

    return {"count": len(ordered), "median": at(0.5), "p99": at(0.99), "max": round(ordered[-1], 3)}
