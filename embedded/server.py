"""A server that is a child of ours: started, waited for, stopped; what an earlier owner left behind is ended."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.errors import EndedError, StartError
from embedded.process import stop, tail, wait_gone, wait_until


class Server:
    """A server with its data under `home`; start, url, stop. Also a context manager."""

    name = ""
    stop_signal = signal.SIGTERM
    stop_seconds = 20.0
    ready_seconds = 60.0

    def __init__(
        self,
        home: Path,
        *,
        say: Callable[[str], None] = lambda line: None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """`say` gets a line when something has to be known; a start ends early when `interrupted` says so."""
        self.home = home.resolve()
        self._say = say
        self._interrupted = interrupted
        self.log = self.home / "logs" / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What DATABASE_URL or REDIS_URL should be."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return None if self._process is None else self._process.pid

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return once it answers. Raises StartError with the end of its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._stop_orphan()
        self._process = self._spawn()
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_ready(self) -> None:
        answers = False

        def settled() -> bool:
            nonlocal answers
            answers = self._answers()
            return answers or not self.alive() or self._interrupted()

        wait_until(settled, self.ready_seconds)
        if not answers or not self.alive():
            kind = StartError if self.alive() else EndedError
            raise kind(f"{self.name} did not start. The end of {self.log}:\n{tail(self.log)}")

    def stop(self) -> None:
        """Stop in order, or by force when that takes too long."""
        if self._process is not None:
            stop(self._process, self.stop_signal, self.stop_seconds)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _orphan(self) -> int | None:
        """The process id of a server on our data that an earlier owner left behind."""
        raise NotImplementedError

    def _stop_orphan(self) -> None:
        # Never connect to what somebody else may have started: end it and start our own.
        pid = self._orphan()
        if pid is None:
            return
        _end(pid, self.stop_signal, self.stop_seconds)


def _end(pid: int, first: signal.Signals, seconds: float) -> None:
    """End a process that is not our child, by force when that takes too long."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, first)
        if not wait_gone(pid, seconds):
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid, 5)
