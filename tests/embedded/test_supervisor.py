"""The supervisor: what it refuses, what it restarts, and that it leaves nothing behind."""

import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import embedded
from embedded.errors import StartError, StopRequested
from embedded.process import wait_gone, wait_until
from embedded.supervisor import Child, Supervisor
from worker.identity import alive

ANSWER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(str(os.getpid()).encode())
    def log_message(self, *_): pass
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


ELSEWHERE = {"DATABASE_URL": "postgresql://kept/elsewhere", "REDIS_URL": "redis://kept.elsewhere"}


def supervisor(place: Path, *children: Child, **more: object) -> Supervisor:
    answering = Child("service", [sys.executable, "-c", ANSWER])
    return Supervisor(
        place,
        children=[answering, *children],
        migrate=False,
        **{"port": 0, "environment": ELSEWHERE, **more},  # type: ignore[arg-type]
    )


def test_children_run_with_our_environment_and_end_with_us(place: Path) -> None:
    with supervisor(place, Child("other", ["sleep", "60"], nice=10)) as running:
        assert httpx.get(running.url).status_code == 200
        assert running.environment["DATABASE_URL"] == "postgresql://kept/elsewhere"
        assert running.environment["ARTIFACTS_URL"] == f"file://{place.resolve()}/artifacts"
        assert "LOOKAHEAD_SECRET_KEYS" not in running.environment  # others use that database, with keys of theirs
        pids = [running.child(name).process.pid for name in ("service", "other")]  # type: ignore[union-attr]
        assert int(Path(f"/proc/{pids[1]}/stat").read_text().split()[18]) == 10
    assert not any(alive(pid) for pid in pids)


def test_a_child_that_dies_is_started_again(place: Path) -> None:
    lines: list[str] = []
    with supervisor(place, say=lines.append) as running:
        thread = threading.Thread(target=running.watch)
        thread.start()
        try:
            first = running.child("service").process
            assert first is not None
            first.send_signal(signal.SIGKILL)

            def answers_anew() -> bool:
                try:
                    return httpx.get(running.url).text != str(first.pid)
                except httpx.TransportError:
                    return False

            assert wait_until(answers_anew, 30)
        finally:
            running.stopping = True
            thread.join()
    assert any("service ended with status -9" in line for line in lines)


def test_a_child_that_keeps_dying_ends_the_watch(place: Path) -> None:
    with supervisor(place, Child("broken", ["sh", "-c", "echo words of its log; sleep 0.5; exit 3"])) as running:
        running.child("broken").restarts.early_ends = 4
        with pytest.raises(StartError, match=r"(?s)broken keeps ending.*words of its log"):
            running.watch()


def test_a_child_that_cannot_start_shows_its_log(place: Path) -> None:
    broken = Child("broken", ["sh", "-c", "echo no luck; exit 3"])
    silent = Child("service", ["sleep", "60"])
    with pytest.raises(StartError, match=r"(?s)broken did not start.*no luck"):
        Supervisor(
            place, port=0, environment={"DATABASE_URL": "x", "REDIS_URL": "x"}, children=[silent, broken], migrate=False
        ).__enter__()


def test_a_taken_port(place: Path) -> None:
    with pytest.raises(StartError, match="70000 is no port"):
        supervisor(place, port=70000).__enter__()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"Port {port} is taken by another program.*PORT={port + 1}"):
            supervisor(place, port=port).__enter__()


def test_a_home_in_use(place: Path) -> None:
    with supervisor(place), pytest.raises(StartError, match="already runs on"):
        supervisor(place).__enter__()
    with supervisor(place):
        pass


def test_no_keys_beyond_loopback(place: Path) -> None:
    with pytest.raises(StartError, match="LOOKAHEAD_AUTH=on"):
        supervisor(place, host="0.0.0.0").__enter__()


def test_a_home_that_cannot_be(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(StartError, match="cannot be used"):
        supervisor(place / "file").__enter__()


def test_another_address_and_a_proxy_in_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    given = ELSEWHERE | {"LOOKAHEAD_AUTH": "on"}
    with supervisor(place, host="127.0.0.2", environment=given) as running:
        assert running.url.startswith("http://127.0.0.2:")
    assert Supervisor(place, host="::1", port=1).url == "http://[::1]:1"
    assert Supervisor(place, host="0.0.0.0", port=1).url == "http://127.0.0.1:1"


def test_children_run_our_packages_not_those_of_the_current_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "embedded").mkdir()
    (place / "embedded" / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(place)
    told = place / "told"
    code = f"import embedded, pathlib, time; pathlib.Path({str(told)!r}).write_text(embedded.__file__); time.sleep(60)"
    with supervisor(place, Child("curious", [sys.executable, "-c", code])):
        assert wait_until(lambda: told.exists() and told.read_text() != "", 30)
    assert told.read_text() == embedded.__file__


def test_a_stop_while_starting_leaves_nothing(place: Path) -> None:
    pids: list[int | None] = []

    def stop_soon(line: str) -> None:
        pids.extend(server.pid for server in running._servers)
        running.request_stop()

    running = supervisor(place, environment={}, say=stop_soon)
    with pytest.raises(StopRequested):
        running.__enter__()
    assert len(set(pids)) == 1  # the second server was never started
    assert pids[0] is not None
    assert not alive(pids[0])
    assert running.child("service").process is None


def test_what_does_not_stop_is_killed_with_all_it_started(place: Path) -> None:
    told = place / "told"
    script = f"trap '' TERM; sleep 60 & echo $! > {told}; wait"
    with supervisor(place, Child("stubborn", ["sh", "-c", script], stop_seconds=0.3)):
        assert wait_until(lambda: told.exists() and told.read_text() != "", 30)
    assert wait_gone(int(told.read_text()), 5)


def test_children_end_when_the_supervisor_is_killed(place: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from tests.embedded.test_supervisor import supervisor
with supervisor(Path({str(place)!r})) as running:
    print(running.child("service").process.pid, flush=True)
    running.watch()
"""
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert alive(pid)
    owner.kill()
    owner.wait()
    assert wait_gone(pid, 5)


def test_an_impatient_ctrl_c_leaves_nothing_running() -> None:
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        process = subprocess.Popen(
            [sys.executable, "-m", "embedded.cli", "up", "--no-sample", "--port", "0", "--home", folder],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("is ready" in line for line in lines)
        postmaster = int((Path(folder) / "pg" / "postmaster.pid").read_text().split()[0])
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Everything is stopped." in out
        assert not alive(postmaster)
