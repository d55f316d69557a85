"""Child processes of ours: started in their own session, stopped in order, gone when we are gone."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worker.identity import alive

_PR_SET_PDEATHSIG = 1
# Looked up here: between fork and exec, another thread may hold the loader's lock for ever.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with_parent(parent: int, first: signal.Signals) -> None:
    """Ask Linux to signal this process when its parent dies; runs between fork and exec.

    To Linux the parent is the thread that started us: start children from one that stays.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(first))
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)


def spawn(
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    nice: int = 0,
    dying: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a child with its output in `log`, in a session of its own: Ctrl-C is ours to hand on in order.

    `dying` is what it gets when we are killed.
    """
    parent = os.getpid()

    def prepare() -> None:
        if nice:
            os.nice(nice)
        die_with_parent(parent, dying)

    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment) if environment is not None else None,
            start_new_session=True,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            preexec_fn=prepare,
        )


def run(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a child that ends by itself; it does not outlive an interruption."""
    try:
        return process.wait()
    except BaseException:
        kill(process)
        raise


def stop(process: subprocess.Popen[bytes], first: signal.Signals, seconds: float) -> None:
    """Signal, wait, and kill what has not ended by then."""
    if process.poll() is not None:
        return
    process.send_signal(first)
    finish(process, seconds)


def finish(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for one that was asked to end, and kill it if it has not by then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a child of `spawn` at once, and what it started in its session."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child of `spawn` has ended; what it left in its session is ended then too."""
    if process.returncode is None and hasattr(os, "waitid"):
        try:
            # Not collected yet: until then no other process can get its id.
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
        except ChildProcessError:  # collected by somebody else
            return process.poll() is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.poll() is not None


def python_environment(given: Mapping[str, str]) -> dict[str, str]:
    """An environment in which `python -m service` is ours, whatever folders the current one holds."""
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**given, "PYTHONSAFEPATH": "1"}
    if root != sysconfig.get_path("purelib"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, given.get("PYTHONPATH")]))
    return environment


def wait_gone(pid: int, seconds: float) -> bool:
    """Whether a process that need not be our child ended within `seconds`."""
    return wait_until(lambda: not alive(pid), seconds)


def wait_until(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    """Whether the condition came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def command_of(pid: int) -> list[str]:
    """The command line of a process, empty if it cannot be read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        if sys.platform == "linux":
            return []
    done = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.split()


def working_in(folder: Path) -> list[int]:
    """The processes whose current folder this is, as far as /proc tells."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink() == folder:
                found.append(int(link.parent.name))
    return found


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
