"""Names of worker processes, from which another process on the same host can tell that one is gone."""

import hashlib
import os
import socket
import sys
import uuid
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS_IDS = Path("/proc/self/ns/pid")


def make_name() -> str:
    """A name that no other worker ever has: host, host token, process id and chance."""
    return f"{socket.gethostname()}-{host_token()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def is_dead(name: str) -> bool:
    """Whether the process of that name is known to be gone: it was on this host and has no process id any more.

    False means only that nothing is known: it may be elsewhere, or its process id may belong to another by now.
    """
    pid = _pid_here(name)
    return pid is not None and not alive(pid)


def is_running(name: str) -> bool:
    """Whether a process with that worker's process id runs on this host: most likely the worker itself."""
    pid = _pid_here(name)
    return pid is not None and alive(pid)


def _pid_here(name: str) -> int | None:
    parts = name.rsplit("-", 3)
    here = len(parts) == 4 and parts[1] == host_token() and parts[2].isdecimal()
    return int(parts[2]) if here else None


@cache
def host_token() -> str:
    """What those processes share whose process ids mean the same to each other, until the host starts again."""
    return hashlib.sha256("\n".join([socket.gethostname(), *_host()]).encode()).hexdigest()[:10]


def _host() -> list[str]:
    if sys.platform != "linux":
        return [hex(uuid.getnode())]
    try:
        # Two containers may share a host name, and one host's process ids mean nothing in another's.
        return [_BOOT_ID.read_text().strip(), str(_PROCESS_IDS.stat().st_ino)]
    except OSError:
        return [uuid.uuid4().hex]  # Nobody shares it: then only silence tells.


def alive(pid: int) -> bool:
    """Whether a process with this id exists on this host and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    try:
        # A zombie runs nothing any more: nobody has asked yet how it ended.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return sys.platform != "linux"  # Elsewhere there is no /proc; on Linux it ended just now.
    except OSError:
        return True
