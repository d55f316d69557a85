"""One request with the retries that a client of the service would make, all of them bounded and recorded."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from benchmarks.soak.record import Event, Record

GIVE_UP_SECONDS = 60.0
REQUEST_SECONDS = 20.0
PAUSE_SECONDS = 0.3  # as the SDK waits before its second try
WAIT = {"Prefer": "wait=5"}
# What a service may answer while a part of it is away: the same request may work later.
AWAY = {"database_unavailable", "queue_unavailable", "storage_unavailable"}
Judge = Callable[[httpx.Response], bool]


class Sender:
    """A connection of one client; `stop` ends its retries."""

    def __init__(self, url: str, name: str, record: Record, stop: threading.Event) -> None:
        self.name, self.record, self.stop = name, record, stop
        self._http = httpx.Client(base_url=url, timeout=REQUEST_SECONDS, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def attempt(self, method: str, path: str, kind: str, **more: Any) -> httpx.Response | None:
        """One try: the answer, or None when there was none. Counts it, and reports what should not be."""
        try:
            answer = self._http.request(method, path, **more)
        except httpx.TransportError as error:
            self.record.answered(kind, type(error).__name__)
            return None
        code = _code(answer)
        self.record.answered(kind, f"{answer.status_code} {code}".strip())
        if answer.status_code == 500 or (answer.status_code == 503 and code not in AWAY):
            self.record.odd(self.name, f"{kind} answered {answer.status_code} {answer.text[:300]}")
        return answer

    def until(self, method: str, path: str, kind: str, good: Judge, **more: Any) -> httpx.Response | None:
        """Try until `good` likes an answer; None when the run ended before, or nothing good came in time."""
        began = time.monotonic()
        while not self.stop.is_set():
            answer = self.attempt(method, path, kind, **more)
            if answer is not None and good(answer):
                self.record.took(kind, time.monotonic() - began)
                return answer
            if answer is not None and 400 <= answer.status_code < 500 and not _passing(answer):
                self.record.odd(self.name, f"{kind} refused: {answer.status_code} {answer.text[:300]}")
                return None
            if time.monotonic() - began > GIVE_UP_SECONDS:
                self.record.odd(self.name, f"{kind} had no good answer within {GIVE_UP_SECONDS:.0f} s: {_last(answer)}")
                return None
            self.stop.wait(PAUSE_SECONDS)
        return None

    def label(self, project: str, event: Event) -> int | None:
        """Send an event until it is acknowledged; its sequence number."""
        self.record.sent(event)
        answer = self.until("POST", "/label", "POST /label", lambda a: a.status_code == 201, json=body(project, event))
        if answer is None:
            return None
        event.seq = int(answer.json()["seq"])
        return event.seq

    def result(self, method: str, path: str, kind: str, **more: Any) -> dict[str, Any] | None:
        """The answer of a request that may become a job: waited for, asked again when the job fails."""
        began = time.monotonic()
        while not self.stop.is_set() and time.monotonic() - began < GIVE_UP_SECONDS:
            answer = self.until(
                method, path, kind, lambda a: a.status_code in (200, 202, 404, 409), headers=WAIT, **more
            )
            if answer is None:
                return None
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                return found
            if answer.status_code == 202 and (done := self._outcome(answer.json()["id"], kind)) is not None:
                return done
            self.stop.wait(PAUSE_SECONDS)
        return None

    def _outcome(self, job_id: str, kind: str) -> dict[str, Any] | None:
        """The result of a job, or None if it did not succeed (its record says why)."""
        began = time.monotonic()
        while not self.stop.is_set() and time.monotonic() - began < GIVE_UP_SECONDS:
            answer = self.attempt("GET", f"/jobs/{job_id}", "GET /jobs/{id}")
            if answer is not None and answer.status_code == 404:
                return None  # a job of which nothing was promised was lost with the database's last moments
            if answer is not None and answer.status_code == 200:
                job = answer.json()
                if job["status"] in ("failed", "cancelled"):
                    self.record.answered(f"job of {kind}", str((job["error"] or {}).get("code", job["status"])))
                    return None
                if job["status"] == "succeeded":
                    self.record.took(f"job of {kind}", time.monotonic() - began)
                    done: dict[str, Any] = job["result"]
                    return done
            self.stop.wait(0.2)
        if not self.stop.is_set():
            self.record.odd(self.name, f"{job_id} ({kind}) has not ended {GIVE_UP_SECONDS:.0f} s after its 202")
        return None


def body(project: str, event: Event) -> dict[str, Any]:
    """The request of an event."""
    said = {"skip": True} if event.kind == "skip" else {"label": event.label}
    return {"project": project, "item": event.item, **said, "annotator": event.annotator, "event_id": event.event_id}


def _code(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("code", "")) if answer.status_code >= 400 else ""
    except ValueError:
        return "no problem body"


def _passing(answer: httpx.Response) -> bool:
    """Refusals that a later try may not meet."""
    return _code(answer) in {"unknown_job", "job_cancelled", "not_prepared"}


def _last(answer: httpx.Response | None) -> str:
    return "nothing answers" if answer is None else f"{answer.status_code} {answer.text[:200]}"
