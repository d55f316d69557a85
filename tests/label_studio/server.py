"""A real Label Studio server for a test, and a person's hand on it through its own interface."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]
START_SECONDS = 400  # half a minute where nothing else runs


class Person:
    """What somebody does in the browser, by the same requests."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Token {token}"}, timeout=60, trust_env=False
        )

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = self._http.request(method, path, **({} if body is None else {"json": body}), **more)
        assert answer.is_success, (method, path, answer.status_code, answer.text[:500])
        return answer.json() if answer.content else None

    def project(self, config: str) -> int:
        return int(self.ask("POST", "/api/projects/", {"title": "test", "label_config": config})["id"])

    def show(self, project: int) -> Json:
        found: Json = self.ask("GET", f"/api/projects/{project}/")
        return found

    def tasks(self, project: int) -> list[Json]:
        found: list[Json] = self.ask("GET", f"/api/tasks?project={project}&page_size=100&fields=all")["tasks"]
        return sorted(found, key=lambda task: int(task["id"]))

    def next(self, project: int) -> int:
        """The task that Label All Tasks shows now."""
        return int(self.ask("GET", f"/api/projects/{project}/next")["id"])

    def annotate(self, task: int, choice: str | None, to: str = "txt") -> int:
        """Submit a choice; None is the Skip button."""
        region = {"from_name": "cls", "to_name": to, "type": "choices", "value": {"choices": [choice]}}
        body: Json = {"result": [] if choice is None else [region], "lead_time": 1.5}
        if choice is None:
            body["was_cancelled"] = True
        return int(self.ask("POST", f"/api/tasks/{task}/annotations/", body)["id"])

    def change(self, annotation: int, choice: str, to: str = "txt") -> None:
        region = {"from_name": "cls", "to_name": to, "type": "choices", "value": {"choices": [choice]}}
        self.ask("PATCH", f"/api/annotations/{annotation}/", {"result": [region]})


@contextmanager
def label_studio(program: str, folder: Path, token: str = "", **environment: str) -> Iterator[Person]:
    """A server with a user of its own on a free port, gone afterwards with everything that it started.

    `token`: of the user that an earlier server made in this folder.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = token or secrets.token_hex(20)
    settings = {
        "LABEL_STUDIO_USERNAME": "ann@example.org",
        "LABEL_STUDIO_PASSWORD": secrets.token_urlsafe(12),
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "PYTHONPATH": "",
    } | environment
    command = [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | settings, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
        try:
            person = Person(f"http://127.0.0.1:{port}", token)
            _wait(process, person, folder / "server.log")
            yield person
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    os.killpg(process.pid, number)
                    try:
                        process.wait(30)
                    except subprocess.TimeoutExpired:
                        continue


def _wait(process: subprocess.Popen[bytes], person: Person, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            person.ask("GET", "/api/current-user/whoami")
            return
        except (httpx.TransportError, AssertionError):
            time.sleep(0.5)
