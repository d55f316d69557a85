"""The command: one sentence for what is expected to fail, and a clean end on every signal."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.process import python_environment, wait_gone, wait_until
from worker.identity import alive

COMMAND = [sys.executable, "-c", "from embedded.cli import main; main()"]


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def environment(**more: str) -> dict[str, str]:
    ours = ("DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL", "LOOKAHEAD_AUTH", "LOOKAHEAD_HOME", "PORT", "HOST")
    return python_environment({name: value for name, value in os.environ.items() if name not in ours} | more)


def run(place: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments], cwd=place, env=environment(**more), capture_output=True, text=True, timeout=60
    )


def test_mistakes_get_one_sentence(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run(place, "up", PORT=str(taken.getsockname()[1]))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is taken by another program" in done.stderr
    assert run(place, "up", "--port", "many").returncode == 2


def test_asking_for_keys_makes_no_data_folder(place: Path) -> None:
    done = run(place, "keys", "list")
    assert done.returncode == 1
    assert "There is no database" in done.stderr
    assert list(place.iterdir()) == []


def test_modules_of_the_current_folder_are_not_taken_for_ours(place: Path) -> None:
    (place / "migrations.py").write_text("raise SystemExit(77)")
    done = run(place, "migrate")
    assert done.returncode == 2
    assert "Set DATABASE_URL" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the children")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_start_stops_everything(place: Path, number: signal.Signals) -> None:
    log = place / "output"
    with log.open("w") as output:
        up = subprocess.Popen(
            [*COMMAND, "up", "--no-sample", "--port", "0"],
            cwd=place,
            env=environment(),
            stdout=output,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup would have it ignored
        )
    assert wait_until(lambda: "postgres ready" in log.read_text(), 60)
    children = [int(pid) for pid in Path(f"/proc/{up.pid}/task/{up.pid}/children").read_text().split()]
    assert children
    up.send_signal(number)
    assert up.wait(30) == 0
    assert log.read_text().endswith("Everything is stopped.\n")
    assert not any(alive(pid) for pid in children)
    assert wait_gone(up.pid, 1)
