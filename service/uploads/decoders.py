"""The processes that decode uploads: few at a time, with little waiting, and none left when the service stops."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from service.decoding.order import Order
from service.problems import TooManyError, UnavailableError

# Each may take as much memory as the limit says.
AT_ONCE = 2
# Whoever waits holds one of the threads that answer everybody.
WAITING_MAX = 8
_ROOT = Path(__file__).parents[2]
_SAID_OF_A_CRASH = 2000


@dataclass(frozen=True)
class Ended:
    """How a decoder ended: its status, negative for a signal, and the last that it complained of."""

    status: int
    complaints: str


class Decoders:
    """Those of one service process."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING_MAX) -> None:
        self._turns = threading.BoundedSemaphore(at_once)
        self._room = threading.BoundedSemaphore(at_once + waiting)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(self, order: Order, file: BinaryIO, said: IO[Any], environment: Mapping[str, str]) -> Ended:
        """Decode a file, once it is its turn. Raises TooManyError, UnavailableError."""
        if not self._room.acquire(blocking=False):
            raise TooManyError(
                "too_many_uploads",
                "so many uploads wait for a decoder already: send this one again later",
                headers={"Retry-After": "10"},
            )
        try:
            with self._turns, tempfile.TemporaryFile() as complaints:
                with self._begun(order, file, said, complaints, environment) as process:
                    status = process.wait()
                if self._closed:
                    raise _stopping()
                complaints.seek(max(0, complaints.seek(0, 2) - _SAID_OF_A_CRASH))
                return Ended(status, complaints.read().decode(errors="replace"))
        finally:
            self._room.release()

    def close(self) -> None:
        """End those that run, and begin no more: a thread that waits for one would hold up the end of the service."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()

    @contextmanager
    def _begun(
        self, order: Order, file: BinaryIO, said: IO[Any], complaints: IO[bytes], environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._closed:
                raise _stopping()
            process = subprocess.Popen(  # noqa: S603 - our own module; the order is one argument
                [sys.executable, "-m", "service.decoding", json.dumps(asdict(order))],
                stdin=file,
                stdout=said,
                stderr=complaints,
                pass_fds=(order.array, order.contents, order.lines),
                cwd=_ROOT,
                env=environment,
            )
            self._running.add(process)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._running.discard(process)


def _stopping() -> UnavailableError:
    return UnavailableError("stopping", "the service is about to stop: send it again", headers={"Retry-After": "5"})
