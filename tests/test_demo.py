"""The demonstration, run as a user runs it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.plot import draw, mean_and_error


def environment(**more: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if k != "PORT"}, "COLUMNS": "120", **more}


def test_it_runs_to_its_end_and_shows_its_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--splits", "2"], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "look-ahead" in done.stdout
    assert "From label to next suggestion: median" in done.stdout
    assert "Everything that was started is stopped." in done.stdout


def test_a_taken_port_gets_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "demo"], env=environment(PORT=port), capture_output=True, text=True
        )
    assert done.returncode == 1
    assert f"Port {port}" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("port", ["http", "65536", "-1"])
def test_a_port_that_is_none_gets_a_sentence(port: str) -> None:
    done = subprocess.run([sys.executable, "-m", "demo"], env=environment(PORT=port), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"PORT is '{port}'" in done.stdout


def test_nothing_at_the_address_gets_a_sentence() -> None:
    command = [sys.executable, "-m", "demo", "--url", "http://127.0.0.1:9"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "is the service running?" in done.stdout


def test_interrupted_while_it_loads() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "Interrupted" in out


def test_interrupted_it_stops_what_it_started() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Interrupted" in out
    assert "Traceback" not in err


def test_curves_are_drawn(tmp_path: Path) -> None:
    runs = [[0.7, 0.8], [0.8, 0.9]]
    draw({"look-ahead": runs, "by chance": runs[:1]}, [20, 30], tmp_path / "new" / "digits.png")
    assert (tmp_path / "new" / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_mean_and_standard_error() -> None:
    assert mean_and_error([0.5]) == (0.5, 0.0)
    mean, error = mean_and_error([0.6, 0.8])
    assert (round(mean, 12), round(error, 12)) == (0.7, 0.1)
