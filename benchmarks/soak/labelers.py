"""Eight annotators who label, correct, withdraw, skip, ask and read, each by a seed of its own."""

import random
import threading
import time
from typing import Any

from benchmarks.soak import project
from benchmarks.soak.project import NAME, Pool
from benchmarks.soak.record import Event, Record
from benchmarks.soak.sending import Sender

PAUSE_SECONDS_MAX = 0.25
HELD_AT_MOST = 18  # standing labels and skips of one client, about: past it, it withdraws more
UPLOAD_EVERY_SECONDS = 45.0
STRATEGIES = [None, "mlmoc", "emoc", "entropy", "margin", "coreset", "random"]


class Labeler(threading.Thread):
    """One client. It sends one request after another, so that its acknowledgements are in order."""

    def __init__(self, number: int, url: str, seed: int, pool: Pool, record: Record, stop: threading.Event) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._random = random.Random(f"client {seed} {number}")
        self._pool, self._record, self._ended = pool, record, stop
        self._sender = Sender(url, self.name, record, stop)
        self._annotator = f"annotator-{number}"
        self._uploads = number == 0
        self._uploaded_at = time.monotonic()
        self._sent = 0
        self._seq = 0  # of its last acknowledged event
        self._standing: dict[str, str] = {}  # what it said itself and has not withdrawn: item -> kind
        self._to_do: list[str] = []  # suggested to it

    def run(self) -> None:
        """Until told to stop."""
        try:
            while not self._ended.is_set():
                self._step()
                self._ended.wait(self._random.uniform(0, PAUSE_SECONDS_MAX))
        except Exception as error:
            # A client that fails by itself would look like one that is content.
            self._record.odd(self.name, f"the client itself failed: {type(error).__name__}: {error}")
            raise
        finally:
            self._sender.close()

    def _step(self) -> None:
        if self._uploads and time.monotonic() - self._uploaded_at > UPLOAD_EVERY_SECONDS:
            self._upload()
            return
        full = len(self._standing) > HELD_AT_MOST
        choices = [
            (self._label, 40),
            (self._correct, 12),
            (self._withdraw, 40 if full else 8),
            (self._skip, 6),
            (self._suggest, 26),
            (self._predict, 4),
            (self._read, 4),
        ]
        step = self._random.choices([c for c, _ in choices], [weight for _, weight in choices])[0]
        step()

    # Events

    def _say(self, item: str, kind: str, label: str | None = None) -> None:
        self._sent += 1
        event = Event(self.name, f"{self.name}-{self._sent}", item, kind, label, self._annotator)
        seq = self._sender.label(NAME, event)
        if seq is None:
            return
        if seq <= self._seq:
            self._record.odd(self.name, f"{event.event_id} got seq {seq} after seq {self._seq} was acknowledged")
        self._seq = seq
        if kind == "withdraw":
            self._standing.pop(item, None)
        else:
            self._standing[item] = kind

    def _next_item(self) -> str:
        if self._to_do and self._random.random() < 0.8:
            return self._to_do.pop(0)
        return self._random.choice(self._pool.ids)

    def _label(self) -> None:
        self._say(self._next_item(), "label", self._random.choice(project.CLASSES))

    def _correct(self) -> None:
        if self._standing:
            item = self._random.choice(list(self._standing))
            self._say(item, "label", self._random.choice(project.CLASSES))

    def _withdraw(self) -> None:
        if self._standing:
            self._say(self._random.choice(list(self._standing)), "withdraw")

    def _skip(self) -> None:
        self._say(self._next_item(), "skip")

    # Questions

    def _suggest(self) -> None:
        asked: dict[str, Any] = {
            "project": NAME,
            "count": self._random.randint(1, 4),
            "annotator": self._annotator,
            "lease_seconds": self._random.choice([0, 1, 3, 10, 60]),
            "seed": self._random.randrange(1 << 31),
        }
        strategy = self._random.choice(STRATEGIES)
        known = self._seq
        answer = self._sender.result(
            "POST", "/suggest", "POST /suggest", json=asked | ({"strategy": strategy} if strategy else {})
        )
        if answer is None:
            return
        if answer["label_seq"] < known:
            self._record.odd(
                self.name, f"a suggestion knew labels up to {answer['label_seq']}, and {known} was acknowledged before"
            )
        self._to_do = [entry["item"] for entry in answer["suggestions"]]

    def _predict(self) -> None:
        items = self._random.sample(self._pool.ids, 3)
        known = self._seq
        answer = self._sender.result(
            "GET", f"/projects/{NAME}/predictions", "GET predictions", params={"items": ",".join(items)}
        )
        if answer is None:
            return
        if answer["label_seq"] < known or [entry["item"] for entry in answer["predictions"]] != items:
            self._record.odd(self.name, f"predictions of {items} after label {known}: {str(answer)[:300]}")

    def _read(self) -> None:
        known = self._seq
        answer = self._sender.until("GET", f"/projects/{NAME}", "GET project", lambda a: a.status_code == 200)
        if answer is not None and answer.json()["label_seq"] < known:
            self._record.odd(self.name, f"the project is at label {answer.json()['label_seq']}, not yet at {known}")

    def _upload(self) -> None:
        self._uploaded_at = time.monotonic()
        inputs = self._pool.draw(project.UPLOAD)
        ids = [f"item-{len(self._pool.ids) + k}" for k in range(project.UPLOAD)]
        file = {"file": ("pool.npz", project.archive(ids, inputs))}
        answer = self._sender.until(
            "POST",
            f"/projects/{NAME}/pool",
            "POST pool",
            # Taken by a try whose answer was lost: the pool has the items then, all of them.
            lambda a: a.status_code == 201 or (a.status_code == 409 and a.json()["code"] == "duplicate_id"),
            files=file,
        )
        if answer is not None:
            self._pool.add(ids, inputs)
