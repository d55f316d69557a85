"""A real server in a thread, and readers of its event streams."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from service.protocol import BoundedProtocol


class Serving:
    """A server on loopback that can be asked to stop as by a signal."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            app, http=BoundedProtocol, log_level="warning", lifespan="on", timeout_graceful_shutdown=10
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]})

    def start(self) -> None:
        self._thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> float:
        """Returns how many seconds it took."""
        began = time.monotonic()
        self.server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        assert not self._thread.is_alive()
        return time.monotonic() - began

    def connect(self, path: str) -> socket.socket:
        """A connection that has asked and reads nothing yet."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return made


@contextmanager
def serving(app: FastAPI) -> Iterator[Serving]:
    made = Serving(app)
    made.start()
    try:
        yield made
    finally:
        if made._thread.is_alive():
            made.stop()


class Reader:
    """Reads a stream in a thread; events with the seconds after its start at which they came."""

    def __init__(self, url: str, path: str, key: str | None = None) -> None:
        self.events: list[tuple[str, dict[str, Any], float]] = []
        self.ended = threading.Event()
        self.broken: Exception | None = None
        self.headers: dict[str, str] = {}
        self._began = time.monotonic()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._thread = threading.Thread(target=self._read, args=(url + path, headers), daemon=True)
        self._thread.start()

    def _read(self, url: str, headers: dict[str, str]) -> None:
        try:
            with httpx.Client(trust_env=False, timeout=30) as client, client.stream("GET", url, headers=headers) as got:
                self.headers = dict(got.headers)
                name = ""
                for line in got.iter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        data = json.loads(line.removeprefix("data: "))
                        self.events.append((name, data, time.monotonic() - self._began))
        except httpx.HTTPError as error:
            self.broken = error
        self.ended.set()

    def wait(self, holds: Callable[[str, dict[str, Any]], bool], seconds: float = 10.0) -> float:
        """Until such an event has come; returns how long that took from now."""
        began = time.monotonic()
        while not any(holds(name, data) for name, data, _ in list(self.events)):
            assert time.monotonic() - began < seconds, self.events[-3:]
            time.sleep(0.01)
        return time.monotonic() - began
