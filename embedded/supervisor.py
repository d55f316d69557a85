"""Everything on one machine: servers, migrations, service and workers, started and stopped in order."""

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from embedded.children import Child, Restarts, default_children
from embedded.errors import StartError, StopRequested
from embedded.home import Home, secret_key
from embedded.process import ended, finish, python_environment, run, spawn, tail, wait_until
from embedded.servers import Postgres, Server, Valkey

__all__ = ["Child", "Supervisor", "default_children"]

READY_SECONDS = 90.0
# A server may take a while to come back, from a disk that was full for one.
SERVER_ATTEMPTS = 30
# How long what a killed predecessor left behind may take to let go of the port.
PORT_SECONDS = 20.0
_EVERY_SECONDS = 0.1
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Supervisor:
    """Context manager: inside the block `url` answers; `watch()` keeps the children running."""

    def __init__(
        self,
        home: Path,
        *,
        port: int = 8000,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
        children: list[Child] | None = None,
        say: Callable[[str], None] = lambda line: None,
        migrate: bool = True,
        give_up_after: int = 5,
    ) -> None:
        """`port` 0 takes any free one. `say` gets one line per thing that happened.

        `watch` gives up on a child that ended so many times in a row soon after its start; 0 means never.
        """
        self.home = home.resolve()
        self.give_up_after = give_up_after
        self.host = host
        self.port = port
        self._given = dict(os.environ if environment is None else environment)
        self._children = default_children() if children is None else children
        self._say = say
        self._migrate = migrate
        self._servers: list[Server] = []
        self._mending: dict[Server, Restarts] = {}
        self._hold = Home(self.home)
        self.environment: dict[str, str] = {}
        self.stopping = False

    @property
    def url(self) -> str:
        """Where the service answers."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - asked for, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def watch(self) -> None:
        """Start again what ends, until `stopping` is set. Raises StartError when something cannot be kept running."""
        while not self.stopping:
            for child in self._children:
                self._tend(child)
            for server in self._servers:
                self._mend(server)
            time.sleep(_EVERY_SECONDS)

    def request_stop(self) -> None:
        """Ask for a stop in order, now or during the start. For signal handlers."""
        self.stopping = True

    def child(self, name: str) -> Child:
        """A child by name."""
        return next(child for child in self._children if child.name == name)

    # Starting

    def _start(self) -> None:
        if self._given.get("LOOKAHEAD_AUTH", "off") == "off" and self.host not in LOOPBACK:
            raise StartError(
                f"Refusing to listen on {self.host} without keys: set LOOKAHEAD_AUTH=on, or use 127.0.0.1."
            )
        self._hold.take()
        self._take_port()
        self.environment = python_environment(self._given) | {
            "LOOKAHEAD_HOME": str(self.home),
            "LOOKAHEAD_AUTH": self._given.get("LOOKAHEAD_AUTH", "off"),
            "HOST": self.host,
            "PORT": str(self.port),
            "ARTIFACTS_URL": self._given.get("ARTIFACTS_URL", f"file://{self.home}/artifacts"),
            "DATABASE_URL": self._server_url("DATABASE_URL", Postgres),
            "REDIS_URL": self._server_url("REDIS_URL", Valkey),
            "PYTHONUNBUFFERED": "1",
        }
        if "DATABASE_URL" not in self._given:  # somebody else's may be read with somebody else's keys
            self.environment.setdefault("LOOKAHEAD_SECRET_KEYS", secret_key(self.home))
        if self._migrate:
            log = self._log("migrations")
            if run(spawn([sys.executable, "-m", "migrations"], log, environment=self.environment)) != 0:
                self._heed()
                raise StartError(f"The database could not be migrated. The end of {log}:\n{tail(log)}")
        for child in self._children:
            self._heed()
            self._launch(child)
        self._wait_ready()

    def _heed(self) -> None:
        if self.stopping:
            raise StopRequested

    def _take_port(self) -> None:
        if not 0 <= self.port <= 65535:
            raise StartError(f"{self.port} is no port: choose one from 1 to 65535 with PORT.")
        # A killed predecessor's service may still be answering its last requests.
        deadline = time.monotonic() + (PORT_SECONDS if self._hold.left_in_haste else 0)
        while (taken := self._port_taken()) and time.monotonic() < deadline:
            self._heed()
            time.sleep(_EVERY_SECONDS)
        if taken:
            raise StartError(
                f"Port {self.port} is taken by another program: stop it or choose another with "
                f"PORT={self.port + 1 if self.port < 65535 else 8000} make up."
            )

    def _port_taken(self) -> bool:
        try:
            family, kind, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                # Without this, a port whose last connections are still closing would count as taken.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                self.port = probe.getsockname()[1]
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise StartError(
                f"Cannot listen on {self.host}, port {self.port} ({error.strerror}): choose others with HOST and PORT."
            ) from error
        return False

    def _server_url(self, variable: str, kind: type[Server]) -> str:
        if given := self._given.get(variable):
            self._say(f"{kind.name}: using {variable}")
            return given
        self._heed()
        server = kind(self.home, say=self._say, interrupted=lambda: self.stopping)
        self._servers.append(server)  # first, so that an interrupted start is stopped too
        started = time.monotonic()
        try:
            server.start()
        except StartError:
            self._heed()
            raise
        self._say(f"{kind.name} ready ({time.monotonic() - started:.1f} s)")
        return server.url

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _launch(self, child: Child) -> None:
        child.process = spawn(child.command, self._log(child.name), environment=self.environment, nice=child.nice)
        child.restarts.start()

    def _wait_ready(self) -> None:
        def settled() -> bool:
            return (
                self.stopping
                or self._answers()
                or any(c.process and c.process.poll() is not None for c in self._children)
            )

        ready = wait_until(settled, READY_SECONDS, every=0.1) and self._answers()
        self._heed()
        if not ready:
            dead = next((c for c in self._children if c.process and c.process.poll() is not None), None)
            log = self._log(dead.name if dead else "service")
            raise StartError(f"{log.stem} did not start. The end of {log}:\n{tail(log)}")
        self._say("service ready")

    def _answers(self) -> bool:
        try:
            # A proxy that the environment names is no way to this machine.
            return httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    # Keeping up

    def _tend(self, child: Child) -> None:
        restarts, log = child.restarts, self._log(child.name)
        if restarts.due is None and child.process is not None and ended(child.process):
            self._say(f"{child.name} ended with status {child.process.returncode}: starting it again")
            self._ended(child.name, restarts, self.give_up_after, log)
        if restarts.is_due() and not self.stopping:
            try:
                self._launch(child)
            except OSError as error:  # no memory, no more processes
                self._say(f"{child.name} cannot be started: {error}")
                self._ended(child.name, restarts, self.give_up_after, log)

    def _mend(self, server: Server) -> None:
        restarts = self._mending.setdefault(server, Restarts())
        attempts = SERVER_ATTEMPTS if self.give_up_after else 0
        if restarts.due is None and not server.alive():
            self._say(f"{server.name} ended unexpectedly: starting it again")
            self._ended(server.name, restarts, attempts, server.log)
        if not restarts.is_due() or self.stopping:
            return
        began = time.monotonic()
        try:
            server.start()
        except (StartError, OSError) as error:
            if not self.stopping:
                self._say(f"{server.name} could not be started, trying again: {error}")
                self._ended(server.name, restarts, attempts, server.log)
            return
        restarts.start()
        self._say(f"{server.name} is back ({time.monotonic() - began:.1f} s)")

    @staticmethod
    def _ended(name: str, restarts: Restarts, limit: int, log: Path) -> None:
        restarts.end()
        if limit and restarts.early_ends >= limit:
            raise StartError(f"{name} keeps ending. The end of {log}:\n{tail(log)}")

    # Stopping

    def _stop(self) -> None:
        # A second Ctrl-C must not leave half of it running; stopping is bounded by the deadlines below.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self._stop_all()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _stop_all(self) -> None:
        self.stopping = True
        running = [child.process for child in self._children if child.process is not None]
        if running or self._servers:
            self._say("Stopping ...")
        # The service first, while workers can still finish what its requests wait for; then all others at once, so
        # that stopping takes as long as the slowest of them and not as all together.
        for group in (self._children[:1], self._children[1:]):
            self._stop_group(group)
        for server in reversed(self._servers):
            server.stop()
        self._servers.clear()
        self._hold.leave()

    @staticmethod
    def _stop_group(children: list[Child]) -> None:
        running = [child.process for child in children if child.process is not None]
        for process in running:
            if not ended(process):
                process.send_signal(signal.SIGTERM)
        for child in children:
            if child.process is not None:
                # Asked once: to a worker, a second signal means to drop what it does.
                finish(child.process, child.stop_seconds)
                child.process = None
