"""The sample project of a fresh `lookahead up`, made beside it: by a process of its own, which loads what it needs."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from embedded.process import kill, spawn, tail
from embedded.supervisor import LOOPBACK, Supervisor

_NICE = 5


class Offer:
    """Context manager: inside the block the sample is being made, and what there is to say is said.

    Not with keys on, as nobody has one yet, and not in a database that somebody else keeps.
    """

    def __init__(self, running: Supervisor, say: Callable[[str], None]) -> None:
        self._running = running
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def at_work(self) -> bool:
        """Whether a sample is being made, or it is being seen to whether one is needed."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        running = self._running
        if running.environment["LOOKAHEAD_AUTH"] != "off" or "DATABASE_URL" in os.environ:
            return self
        log = running.home / "logs" / "sample.log"
        log.unlink(missing_ok=True)
        # A proxy that the environment names is no way to this machine.
        environment = running.environment | {"NO_PROXY": ",".join(LOOPBACK), "no_proxy": ",".join(LOOPBACK)}
        command = [sys.executable, "-m", "embedded.sample", "--url", running.url]
        process = self._process = spawn(command, log, environment=environment, nice=_NICE)

        def wait() -> None:
            process.wait()
            if not running.stopping:
                self._say(tail(log))

        threading.Thread(target=wait, name="sample", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            kill(self._process)
