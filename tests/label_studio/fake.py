"""A stand-in for a Label Studio server over real HTTP: it answers as version 1.23.2 was seen to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

Json = dict[str, Any]
RECORDED = Path(__file__).parent / "recorded"
TOKEN = "f" * 40
TEXT_CONFIG = (
    '<View><Text name="txt" value="$text"/><Choices name="cls" toName="txt"><Choice value="pos"/>'
    '<Choice value="neg"/></Choices></View>'
)


def recorded(number: int) -> Json:
    """The body of a request that Label Studio sent."""
    (path,) = RECORDED.glob(f"{number:02d}_*.json")
    body: Json = json.loads(path.read_text())["request"]["body"]
    return body


class FakeLabelStudio:
    """The state of one project, number 1. `requests` has what was asked, `fail_with` is the next answers' status."""

    def __init__(self) -> None:
        self.url = ""
        self.project: Json = {
            "id": 1,
            "title": "fake",
            "label_config": TEXT_CONFIG,
            "model_version": "",
            "sampling": "Sequential sampling",
            "skip_queue": "REQUEUE_FOR_OTHERS",
        }
        self.users = [{"id": 1, "email": "ann@example.org"}]
        self.tasks: dict[int, Json] = {}
        self.annotations: dict[int, Json] = {}
        self.predictions: list[Json] = []
        self.backends: list[Json] = []
        self.webhooks: list[Json] = []
        self.pictures: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.fail_with: list[int] = []
        self.refuse_backends: str | None = None
        self._clock = 0
        self._annotated = 0

    def now(self) -> str:
        self._clock += 1
        return f"2026-11-20T22:{self._clock // 60:02d}:{self._clock % 60:02d}.123456Z"

    def add_tasks(self, count: int, **data: Any) -> None:
        for number in range(len(self.tasks) + 1, len(self.tasks) + count + 1):
            self.tasks[number] = {
                "id": number,
                "data": data or {"text": f"{'good fine' if number % 2 else 'bad poor'} word{number}"},
                "updated_at": self.now(),
            }

    def annotate(self, task: int, choice: str | None, *, user: int = 1, number: int | None = None) -> Json:
        """A person chooses; None skips."""
        if number is None:
            self._annotated += 1
            number = self._annotated
        value = {"from_name": "cls", "to_name": "txt", "type": "choices", "value": {"choices": [choice]}}
        self.annotations[number] = {
            "id": number,
            "task": task,
            "completed_by": user,
            "was_cancelled": choice is None,
            "result": [] if choice is None else [value],
            "updated_at": self.now(),
        }
        self.tasks[task]["updated_at"] = self.now()
        return self.annotations[number]

    def delete_annotation(self, number: int) -> None:
        task = self.annotations.pop(number)["task"]
        self.tasks[task]["updated_at"] = self.now()

    def served(self) -> list[int]:
        """Tasks without annotations, in the order in which uncertainty sampling serves them."""
        done = {each["task"] for each in self.annotations.values()}
        ranked = [p for p in self.predictions if p["model_version"] == self.project["model_version"]]
        return [p["task"] for p in sorted(ranked, key=lambda p: p["score"]) if p["task"] not in done]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        parts = [part for part in path.split("/") if part]
        name = parts[1] if len(parts) > 1 else ""
        if parts[:2] == ["api", "projects"]:
            return self._on_project(method, parts[3:], body)
        if name == "users":
            return 200, self.users
        if name == "tasks":
            return self._on_tasks(parts[2:], query)
        if name in {"ml", "webhooks"}:
            return self._on_registry(method, name, parts[2:], body)
        return 404, {"detail": "Not found."}

    def _on_project(self, method: str, rest: list[str], body: Any) -> tuple[int, Any]:
        if rest == ["import", "predictions"]:
            if missing := [each["task"] for each in body if each["task"] not in self.tasks]:
                return 400, {"detail": "Validation error", "validation_errors": [f"task ID {missing[0]} not found"]}
            self.predictions += body
            return 201, {"created": len(body)}
        if rest == ["model-versions"]:
            if method == "DELETE":
                self.predictions = [p for p in self.predictions if p["model_version"] != body["model_version"]]
            return 200, {p["model_version"]: 1 for p in self.predictions}
        if method == "PATCH":
            self.project |= body
        return 200, self.project

    def _on_tasks(self, rest: list[str], query: dict[str, list[str]]) -> tuple[int, Any]:
        if rest:
            return (200, self.tasks[int(rest[0])]) if int(rest[0]) in self.tasks else (404, {"detail": "none"})
        asked = json.loads(query["query"][0])
        since = asked["filters"]["items"][0]["value"] if "filters" in asked else ""
        found = [task for task in self.tasks.values() if task["updated_at"] > since]
        page, size = int(query["page"][0]), int(query["page_size"][0])
        shown = [
            task | {"annotations": [a for a in self.annotations.values() if a["task"] == task["id"]]}
            for task in found[(page - 1) * size : page * size]
        ]
        return 200, {"total": len(found), "tasks": shown}

    def _on_registry(self, method: str, name: str, rest: list[str], body: Any) -> tuple[int, Any]:
        entries = self.backends if name == "ml" else self.webhooks
        if method == "POST":
            if name == "ml" and self.refuse_backends is not None:
                return 403, {"detail": self.refuse_backends}
            made = body | {"id": len(entries) + 1}
            entries.append(made)
            if name == "ml":
                self.webhooks.append({"id": 70 + len(self.webhooks), "url": f"{body['url']}/webhook"})
            return 201, made
        if method == "DELETE":
            entries[:] = [each for each in entries if each["id"] != int(rest[0])]
            return 204, None
        return 200, entries


@contextmanager
def fake_label_studio() -> Iterator[FakeLabelStudio]:
    fake = FakeLabelStudio()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            parsed = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.requests.append((self.command, parsed.path))
            raw = fake.pictures.get(parsed.path)
            if self.headers.get("Authorization") != f"Token {TOKEN}":
                status, body = 401, {"detail": "Invalid token."}
            elif fake.fail_with:
                status, body = fake.fail_with.pop(0), {"detail": "as told"}
            elif raw is not None:
                status, body = 200, {}
            else:
                status, body = fake.answer(
                    self.command, parsed.path, parse_qs(parsed.query), json.loads(content) if content else None
                )
            sent = raw if raw is not None and status == 200 else b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


def connect(api: Any, fake: FakeLabelStudio, **more: Any) -> Json:
    """A connection of project `p`, whose classes are pos and neg."""
    if api.get("/projects/p").status_code == 404:
        api.project(classes=("pos", "neg"))
    answer: httpx2.Response = api.post(
        "/label-studio", {"project": "p", "url": fake.url, "token": TOKEN, "label_studio_project": 1, **more}
    )
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found
