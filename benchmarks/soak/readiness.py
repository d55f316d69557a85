"""How long until the deployment serves again: three probes, from the moment of a kill."""

import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import httpx

from benchmarks.soak.project import CLASSES, NAME, Pool
from benchmarks.soak.record import Event, Record
from benchmarks.soak.sending import body

READY, LABEL, SUGGEST = "GET /readyz", "POST /label", "POST /suggest"
GIVE_UP_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
_ASKING = 3
_TIMEOUT = httpx.Timeout(8.0, connect=2.0)
_numbers = count(1)
# Made once: httpx would read all certificates for every client, which takes more of the processor than the request.
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Probe:
    """One kind of request, repeated; knows since when it has been answered well without a break."""

    good_since: float | None = None
    sent_first_good: float = 0.0
    sent_last_good: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, sent: float, problem: str | None) -> None:
        """The outcome of one try. One that was asked before the first good one says nothing about the time since."""
        with self._lock:
            if problem is not None:
                self.failures[problem] = self.failures.get(problem, 0) + 1
                if self.good_since is not None and sent > self.sent_first_good:
                    self.good_since = None
                return
            self.sent_last_good = max(sent, self.sent_last_good)
            if self.good_since is None:
                self.good_since, self.sent_first_good = time.monotonic(), sent


@dataclass(frozen=True)
class Recovery:
    """Seconds from the kill until each request was answered well again, for good; None: not in time."""

    restarted: float | None
    ready: dict[str, float | None]
    failures: dict[str, dict[str, int]]


class Readiness:
    """Probes a deployment. Its labels go into the record like all others."""

    def __init__(self, url: str, seed: int, pool: Pool, record: Record) -> None:
        self._url, self._pool, self._record = url, pool, record
        self._random = random.Random(f"probe {seed}")
        self._waits = 0

    def wait(self, struck: float, replaced: Callable[[], bool], stop: threading.Event) -> Recovery:
        """Probe until all is well and what was killed runs again, at most GIVE_UP_SECONDS."""
        done = threading.Event()
        self._waits += 1
        probes = {READY: Probe(), LABEL: Probe(), SUGGEST: Probe()}
        tries = {READY: self._ready, LABEL: self._label, SUGGEST: self._suggest}
        threads = [
            threading.Thread(target=self._repeat, args=(tries[name], probes[name], done), daemon=True)
            # Several ask for suggestions: one that waits for a dead worker's job does not hide that others are served.
            for name in (READY, LABEL, *[SUGGEST] * _ASKING)
        ]
        for thread in threads:
            thread.start()
        restarted: float | None = None
        while time.monotonic() - struck < GIVE_UP_SECONDS and not stop.is_set():
            if restarted is None and replaced():
                restarted = time.monotonic()
            # An answer counts once it was asked for when everything had been started again.
            if restarted is not None and all(
                probe.good_since is not None and probe.sent_last_good > restarted for probe in probes.values()
            ):
                break
            time.sleep(0.01)
        done.set()
        for thread in threads:
            thread.join(_TIMEOUT.read or 8)
        return Recovery(
            restarted=None if restarted is None else round(restarted - struck, 3),
            ready={
                name: None if probe.good_since is None else round(probe.good_since - struck, 3)
                for name, probe in probes.items()
            },
            failures={name: probe.failures for name, probe in probes.items() if probe.failures},
        )

    def _repeat(self, attempt: Callable[[httpx.Client], str | None], probe: Probe, done: threading.Event) -> None:
        # A connection of its own each time, as somebody has who comes now.
        while not done.is_set():
            sent = time.monotonic()
            try:
                with httpx.Client(base_url=self._url, timeout=_TIMEOUT, trust_env=False, verify=_PLAIN) as client:
                    problem = attempt(client)
            except httpx.TransportError as error:
                problem = type(error).__name__
            probe.note(sent, problem)
            done.wait(_PAUSE_SECONDS)

    def _ready(self, client: httpx.Client) -> str | None:
        answer = client.get("/readyz")
        return None if answer.status_code == 200 else _told(answer)

    def _label(self, client: httpx.Client) -> str | None:
        event = Event(
            client=f"probe-{self._waits}",
            event_id=f"probe-{next(_numbers)}",
            item=self._pool.ids[self._random.randrange(20)],
            kind="label",
            label=self._random.choice(CLASSES),
            annotator="probe",
        )
        self._record.sent(event)
        answer = client.post("/label", json=body(NAME, event))
        if answer.status_code != 201:
            return _told(answer)
        event.seq = int(answer.json()["seq"])
        return None

    def _suggest(self, client: httpx.Client) -> str | None:
        asked = {"project": NAME, "annotator": "probe", "lease_seconds": 1}
        answer = client.post("/suggest", json=asked, headers={"Prefer": "wait=5"})
        return None if answer.status_code == 200 else _told(answer)


def _told(answer: httpx.Response) -> str:
    """Alike for answers that differ in their ids only."""
    body = answer.json()
    said = {key: body[key] for key in ("code", "detail", "status", "stage", "parts") if key in body}
    return f"{answer.status_code} {said}"
