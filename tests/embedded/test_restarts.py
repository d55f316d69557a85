"""What the supervisor starts again after a kill, when it gives up, and how it stops what is at work."""

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from embedded.children import SETTLED_SECONDS, Restarts
from embedded.errors import StartError
from embedded.home import secret_key
from embedded.process import ended, wait_gone, wait_until
from embedded.servers import Valkey
from embedded.supervisor import Child, Supervisor, default_children
from tests.embedded.test_supervisor import ELSEWHERE, supervisor


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def watched(running: Supervisor) -> threading.Thread:
    thread = threading.Thread(target=running.watch)
    thread.start()
    return thread


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_servers_that_are_killed_come_back_with_what_they_held(place: Path) -> None:
    lines: list[str] = []
    with supervisor(place, environment={}, say=lines.append) as running:
        postgres, valkey = running._servers
        assert (place / "secret.key").stat().st_mode & 0o777 == 0o600
        assert running.environment["LOOKAHEAD_SECRET_KEYS"] == secret_key(place) == secret_key(place)
        thread = watched(running)
        try:
            with redis.Redis.from_url(valkey.url) as client:
                client.set("kept", "42")
                for server in (postgres, valkey, postgres):
                    before = server.pid
                    kill(before)
                    assert wait_until(lambda s=server, b=before: s.pid != b and s.alive() and s._answers(), 20)  # type: ignore[misc]
                assert client.get("kept") == b"42"
        finally:
            running.stopping = True
            thread.join()
    assert len([line for line in lines if line.startswith("postgres is back")]) == 2


def test_a_server_that_does_not_start_at_once_is_tried_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with supervisor(place, environment={}, say=lines.append) as running:
        _, valkey = running._servers
        working = Valkey._spawn
        broken = [0]

        def fails_twice(server: Valkey) -> "subprocess.Popen[bytes]":
            broken[0] += 1
            if broken[0] <= 2:
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
            return working(server)

        monkeypatch.setattr(Valkey, "_spawn", fails_twice)
        thread = watched(running)
        try:
            kill(valkey.pid)
            assert wait_until(lambda: broken[0] == 3 and valkey.alive() and valkey._answers(), 20)
        finally:
            running.stopping = True
            thread.join()
    assert len([line for line in lines if "could not be started, trying again" in line]) == 2


def test_a_server_that_never_starts_ends_the_watch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedded.supervisor.SERVER_ATTEMPTS", 3)
    with supervisor(place, environment={}) as running:
        _, valkey = running._servers
        monkeypatch.setattr(Valkey, "_spawn", lambda _: (_ for _ in ()).throw(OSError(errno.ENOMEM, "none left")))
        kill(valkey.pid)
        with pytest.raises(StartError, match="valkey keeps ending"):
            running.watch()


def test_being_killed_again_and_again_is_no_crash_loop() -> None:
    restarts = Restarts()
    for _ in range(200):
        restarts.start()
        restarts.started -= SETTLED_SECONDS + 1
        restarts.end()
        assert restarts.is_due()  # at once
        assert restarts.early_ends == 1
    pauses = []
    for _ in range(12):
        restarts.start()
        restarts.end()
        assert restarts.due is not None
        pauses.append(round(restarts.due - time.monotonic(), 2))
    assert restarts.early_ends == 13
    assert pauses == sorted(pauses)
    assert 4 < pauses[-1] <= 5


def test_never_giving_up(place: Path) -> None:
    broken = Child("broken", ["sh", "-c", "sleep 0.2"])
    with supervisor(place, broken, give_up_after=0) as running:
        running.child("broken").restarts.early_ends = 400
        thread = watched(running)
        try:
            assert wait_until(lambda: running.child("broken").restarts.early_ends > 400, 30)
            assert thread.is_alive()
        finally:
            running.stopping = True
            thread.join()


def test_what_a_killed_child_had_started_ends_too(place: Path) -> None:
    told = place / "told"
    script = f"sleep 60 & echo $! > {told}; wait"
    with supervisor(place, Child("parent", ["sh", "-c", script])) as running:
        assert wait_until(lambda: told.exists() and told.read_text() != "", 30)
        left = int(told.read_text())
        parent = running.child("parent").process
        assert parent is not None
        kill(parent.pid)
        assert wait_until(lambda: ended(parent), 30)
        assert wait_gone(left, 5)


def test_the_service_ends_before_the_workers_are_asked_to(place: Path) -> None:
    told = place / "told"

    def telling(name: str, seconds: float) -> Child:
        code = f"""
import http.server, os, signal, threading, time
def stop(*_):
    with open({str(told)!r}, "a") as file: file.write("{name} asked\\n")
    time.sleep({seconds})
    with open({str(told)!r}, "a") as file: file.write("{name} ended\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
if "{name}" == "service":
    http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
open({str(place)!r} + "/{name}", "w").close()
while True: time.sleep(1)
"""
        return Child(name, [sys.executable, "-c", code])

    made = Supervisor(
        place,
        port=0,
        environment=ELSEWHERE,
        children=[telling("service", 0.5), telling("worker", 0.1)],
        migrate=False,
    )
    with made:
        assert wait_until(lambda: (place / "worker").exists(), 30)
    assert told.read_text().splitlines() == ["service asked", "service ended", "worker asked", "worker ended"]


def test_the_port_of_a_killed_predecessor_is_waited_for(place: Path) -> None:
    with supervisor(place) as running:
        port = running.port
    (place / "lock").write_text("1")  # somebody who did not take leave
    taken = socket.create_server(("127.0.0.1", port))
    threading.Timer(0.5, taken.close).start()
    with supervisor(place, port=port) as running:
        assert httpx.get(running.url).status_code == 200
    assert (place / "lock").read_text() == ""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_request_in_flight_is_answered_before_the_end(place: Path, processes: int) -> None:
    environment = {**os.environ, "LOOKAHEAD_SERVICE_PROCESSES": str(processes)}
    body = b'{"name": "p", "classes": ["a", "b"]}'
    head = (
        f"POST /projects HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with Supervisor(place, port=0, environment=environment, children=default_children()[:1]) as running:
        connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
        connection.sendall(head.encode() + body[:10])
        time.sleep(0.3)
        threading.Timer(1.0, connection.sendall, [body[10:]]).start()
    assert connection.recv(65536).startswith(b"HTTP/1.1 201")
    connection.close()
