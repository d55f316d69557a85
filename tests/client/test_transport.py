"""What the client does when a connection fails half-way, or something else answers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from client.errors import ApiError, UnexpectedAnswerError, UnreachableError, WaitTimeoutError
from client.sdk import Client
from tests.api import vectors

ACCEPTED = {"seq": 1, "item": "item-1", "label": "a"}
JOB = {
    "id": "job-1",
    "kind": "suggest",
    "project": "p",
    "status": "running",
    "stage": "score",
    "progress": {"done": 1, "total": 2, "unit": "tiles"},
    "eta_seconds": None,
    "attempt": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
    "links": {},
}
ANSWER = {
    "suggestions": [],
    "strategy": "random",
    "options": {},
    "label_seq": 0,
    "checkpoint": None,
    "kernel": None,
    "seed": 0,
    "candidates": 0,
    "timings": {},
}
Request = dict[str, Any]
Respond = Callable[[list[Request]], tuple[int, Any] | None]


@contextmanager
def answering(respond: Respond) -> Iterator[tuple[str, list[Request]]]:
    """(URL, requests so far) of a server; where `respond` gives None it hangs up after reading."""
    seen: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append({"method": self.command, "path": self.path, "body": body, "headers": self.headers})
            said = respond(seen)
            if said is None:
                self.close_connection = True
                return
            status, content = said
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_label_is_sent_again_with_the_same_event_id() -> None:
    with answering(lambda seen: None if len(seen) < 3 else (201, ACCEPTED)) as (url, seen), Client(url) as client:
        assert client.label("p", "item-1", "a").seq == 1
    sent = [json.loads(request["body"]) for request in seen]
    assert len(sent) == 3
    assert len({body["event_id"] for body in sent}) == 1
    assert sent[0]["event_id"]


def test_two_labels_are_two_events_unless_the_caller_says_otherwise() -> None:
    with answering(lambda _: (201, ACCEPTED)) as (url, seen), Client(url) as client:
        client.label("p", "item-1", "a")
        client.withdraw("p", "item-1")
        client.skip("p", "item-1", event_id="mine")
    first, second, third = (json.loads(request["body"]) for request in seen)
    assert first["event_id"] != second["event_id"]
    assert (second["label"], third["event_id"], third["skip"]) == (None, "mine", True)
    assert "label" not in third


def test_reading_is_repeated() -> None:
    with answering(lambda seen: None if len(seen) < 2 else (200, {"jobs": [], "next": None})) as (url, seen):
        with Client(url) as client:
            assert client.jobs() == []
        assert len(seen) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.create_project("p", ["a", "b"]),
        lambda c: c.labels("p", [("item-1", "a")]),
        lambda c: c.upload_checkpoint("p", b"weights", "mlp"),
        lambda c: c.upload_pool("p", vectors(2)),
        lambda c: c.train("p"),
        lambda c: c.suggest("p"),
    ],
    ids=["create", "labels", "checkpoint", "pool", "train", "suggest"],
)
def test_what_is_sent_again_is_named_so_that_it_is_done_once(call: Callable[[Client], Any]) -> None:
    with answering(lambda _: None) as (url, seen), Client(url) as client:
        for _ in range(2):
            with pytest.raises(UnreachableError):
                call(client)
    keys = [request["headers"]["Idempotency-Key"] for request in seen]
    assert len(keys) == 6
    assert keys[0] == keys[1] == keys[2] != keys[3] == keys[4] == keys[5]
    # Whole each time, also where the first try has read the file to its end.
    assert len({len(request["body"]) for request in seen}) == 1


def test_what_could_happen_twice_is_sent_once() -> None:
    with answering(lambda _: None) as (url, seen), Client(url) as client:
        with pytest.raises(UnreachableError):
            client.cancel("job-1")
        assert len(seen) == 1


def test_a_name_of_ones_own_and_what_annotators_say() -> None:
    accepted = {"first_seq": 1, "last_seq": 3, "accepted": 3}
    with answering(lambda _: (201, accepted)) as (url, seen), Client(url) as client:
        more = {"item": "item-2", "skip": True, "own": True, "annotator": "bob"}
        client.labels("p", [("item-1", "a"), more], annotator="ann", key="mine")
    assert seen[0]["headers"]["Idempotency-Key"] == "mine"
    assert json.loads(seen[0]["body"])["labels"] == [{"annotator": "ann", "item": "item-1", "label": "a"}, more]


def test_a_suggestion_in_the_making_is_waited_for() -> None:
    def respond(seen: list[Request]) -> tuple[int, Any]:
        done = {"status": "succeeded", "result": ANSWER} if len(seen) > 3 else {}
        return (202 if seen[-1]["method"] == "POST" else 200), JOB | done

    stages: list[str] = []
    with answering(respond) as (url, seen), Client(url) as client:
        answer = client.suggest("p", strategy="random", wait=0, on_progress=lambda job: stages.append(job.status))
    assert answer.strategy == "random"
    assert stages == ["running", "running", "succeeded"]
    assert seen[0]["headers"]["Prefer"] == "wait=0"
    assert [request["path"] for request in seen[1:]] == ["/jobs/job-1"] * 3


def test_waiting_ends() -> None:
    with (
        answering(lambda _: (200, JOB)) as (url, _),
        Client(url) as client,
        pytest.raises(WaitTimeoutError, match="still running"),
    ):
        client.wait_for("job-1", timeout=0.05)


def test_something_else_answers() -> None:
    with (
        answering(lambda _: (200, b"<html>")) as (url, _),
        Client(url) as client,
        pytest.raises(UnexpectedAnswerError, match="is it a Lookahead service"),
    ):
        client.project("p")
    with answering(lambda _: (502, b"<html>")) as (url, _), Client(url) as client, pytest.raises(ApiError) as refused:
        client.project("p")
    assert (refused.value.status, refused.value.code) == (502, "http_error")


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1", "http://127.0.0.1:port", ""])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UnreachableError, match="no address of a service"), Client(url) as client:
        client.project("p")


def test_a_service_that_says_when_to_come_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("client.transport.pause", waited.append)
    monkeypatch.setattr(BaseHTTPRequestHandler, "send_header", _with_retry_after("7"))

    def refuse_once(seen: list[Request]) -> tuple[int, Any]:
        return (201, ACCEPTED) if len(seen) > 1 else (429, {})

    with answering(refuse_once) as (url, seen), Client(url) as client:
        assert client.label("p", "item-1", "a").seq == 1
    assert (len(seen), waited) == (2, [7.0])


@pytest.mark.parametrize(("status", "after", "times"), [(429, "60", 1), (503, "1", 1), (429, "1", 3)])
def test_refusals_that_stay_are_told(monkeypatch: pytest.MonkeyPatch, status: int, after: str, times: int) -> None:
    monkeypatch.setattr("client.transport.pause", lambda _: None)
    monkeypatch.setattr(BaseHTTPRequestHandler, "send_header", _with_retry_after(after))
    with answering(lambda _: (status, {})) as (url, seen), Client(url) as client:
        with pytest.raises(ApiError) as refused:
            client.add_classes("p", ["c"])  # not safe to repeat: only what was not begun is asked again
        assert (refused.value.status, len(seen)) == (status, times)


def _with_retry_after(seconds: str) -> Callable[..., None]:
    plain = BaseHTTPRequestHandler.send_header

    def send(self: BaseHTTPRequestHandler, name: str, value: str) -> None:
        if name == "Content-Length":
            plain(self, "Retry-After", seconds)
        plain(self, name, value)

    return send
