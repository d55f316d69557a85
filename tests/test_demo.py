"""The demonstration, run as a user runs it."""

import os
import signal
import socket
import subprocess
import sys
import time


def environment(**more: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if k != "PORT"}, "COLUMNS": "120", **more}


def test_it_runs_to_its_end_and_shows_its_table() -> None:
    done = subprocess.run([sys.executable, "-m", "demo"], env=environment(), capture_output=True, text=True)
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
