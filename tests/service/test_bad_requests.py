"""Bad requests: each a precise problem, and nothing changed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from tests.api import Api, assert_problem

REQUESTS: dict[str, tuple[str, Any, int, str, str]] = {
    "label: unknown project": ("/label", {"project": "q", "item": "item-0", "label": "a"}, 404, "unknown_project", "q"),
    "label: unknown item": ("/label", {"project": "p", "item": "x", "label": "a"}, 404, "unknown_item", "'x'"),
    "label: unknown class": ("/label", {"project": "p", "item": "item-0", "label": "z"}, 422, "unknown_class", "'b'"),
    "label: class past the end": ("/label", {"project": "p", "item": "item-0", "label": 3}, 422, "unknown_class", "3"),
    "label: truth value": ("/label", {"project": "p", "item": "item-0", "label": True}, 422, "invalid_request", ""),
    "label: nothing said": ("/label", {"project": "p", "item": "item-0"}, 422, "invalid_request", "either"),
    "label: both said": (
        "/label",
        {"project": "p", "item": "item-0", "label": "a", "skip": True},
        422,
        "invalid_request",
        "either",
    ),
    "label: typo": ("/label", {"project": "p", "item": "item-0", "lable": "a"}, 422, "invalid_request", "lable"),
    "label: NUL": ("/label", {"project": "p", "item": "a\0b", "label": "a"}, 422, "invalid_request", "item"),
    "label: not an object": ("/label", [1], 422, "invalid_request", ""),
    "labels: conflict": (
        "/labels",
        {"project": "p", "labels": [{"item": "item-0", "label": "a"}, {"item": "item-0", "label": "b"}]},
        422,
        "conflicting_labels",
        "entries 1 and 2",
    ),
    "labels: one of many unknown": (
        "/labels",
        {"project": "p", "labels": [{"item": "item-0", "label": "a"}, {"item": "nope", "label": "b"}]},
        404,
        "unknown_item",
        "entry 2",
    ),
    "labels: none": ("/labels", {"project": "p", "labels": []}, 422, "invalid_request", "labels"),
    "suggest: unknown project": ("/suggest", {"project": "q"}, 404, "unknown_project", "'q'"),
    "suggest: not prepared": ("/suggest", {"project": "p"}, 409, "not_prepared", "checkpoint"),
    "suggest: mlmoc not prepared": ("/suggest", {"project": "p", "strategy": "mlmoc"}, 409, "not_prepared", "random"),
    "suggest: unknown strategy": ("/suggest", {"project": "p", "strategy": "best"}, 422, "invalid_request", "mlmoc"),
    "suggest: count 0": ("/suggest", {"project": "p", "count": 0}, 422, "invalid_request", "count"),
    "suggest: count true": ("/suggest", {"project": "p", "count": True}, 422, "invalid_request", "count"),
    "suggest: unknown option": (
        "/suggest",
        {"project": "p", "strategy": "mlmoc", "options": {"batchh": 1}},
        422,
        "invalid_options",
        "options.batchh",
    ),
    "suggest: option of another": (
        "/suggest",
        {"project": "p", "strategy": "margin", "options": {"batch": "top_k"}},
        422,
        "invalid_options",
        "options.batch",
    ),
    "project: exists": ("/projects", {"name": "p", "classes": ["a", "b"]}, 409, "project_exists", "'p'"),
    "project: class twice": ("/projects", {"name": "r", "classes": ["a", "a"]}, 422, "invalid_request", "twice"),
    "project: one class": ("/projects", {"name": "r", "classes": ["a"]}, 422, "invalid_request", "classes"),
    "project: name": ("/projects", {"name": "../r", "classes": ["a", "b"]}, 422, "invalid_request", "name"),
    "project: kernel": (
        "/projects",
        {"name": "r", "classes": ["a", "b"], "kernel": {"ridge": 0}},
        422,
        "invalid_request",
        "ridge",
    ),
    "project: ridge is a truth value": (
        "/projects",
        {"name": "r", "classes": ["a", "b"], "kernel": {"ridge": True}},
        422,
        "invalid_request",
        "ridge",
    ),
    "project: ridge is text": (
        "/projects",
        {"name": "r", "classes": ["a", "b"], "kernel": {"ridge": "0.1"}},
        422,
        "invalid_request",
        "ridge",
    ),
    "train: rate is a truth value": ("/projects/p/train", {"learning_rate": True}, 422, "invalid_request", "rate"),
    "project: window": (
        "/projects",
        {"name": "r", "classes": ["a", "b"], "kernel": {"window": "most"}},
        422,
        "invalid_request",
        "window",
    ),
    "project: default options": (
        "/projects",
        {"name": "r", "classes": ["a", "b"], "defaults": {"options": {"x": "\0"}}},
        422,
        "invalid_request",
        "x",
    ),
    "label: half a character": (
        "/label",
        b'{"project": "p", "item": "\\ud800", "label": "a"}',
        422,
        "invalid_request",
        "item",
    ),
    "pool: unknown project": ("/projects/q/pool", None, 422, "invalid_request", "file"),
    "cancel: unknown job": ("/jobs/job-1/cancel", None, 404, "unknown_job", "job-1"),
    "unknown route": ("/nowhere", {}, 404, "unknown_route", "/nowhere"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_request(name: str, shared: Api, ready: Callable[[], None]) -> None:
    path, body, status, code, words = REQUESTS[name]
    if isinstance(body, bytes):
        answer = shared.client.post(path, content=body, headers={"content-type": "application/json"})
    else:
        answer = shared.post(path, body)
    assert_problem(answer, status, code, words)
    ready()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b'{"project": "p", "item": "item-0", "label": "a"', 400, "malformed_json"),
        (b"\xff\xfe", 400, None),
        (b"[" * 100_000, 400, None),
    ],
)
@pytest.mark.parametrize("path", ["/label", "/labels", "/suggest", "/projects"])
def test_malformed_json(
    path: str, body: bytes, status: int, code: str | None, shared: Api, ready: Callable[[], None]
) -> None:
    answer = shared.client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in ({400, 422} if code is None else {status}), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert code is None or answer.json()["code"] == code
    ready()


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("text/csv", b"item,label\nitem-0,a\nitem-1\n", "line 3"),
        ("text/csv", b"item,class\nitem-0,a\n", "first line"),
        ("text/csv", b"item,label\nitem-0,\n", "line 2"),
        ("text/csv", b"item,label\n", "no label"),
        ("text/csv", b"", "first line"),
        ("text/csv", b"item,label\n\xff,a\n", "UTF-8"),
        ("application/x-ndjson", b'{"item": "item-0", "label": "a"}\n{"item": 3}\n', "line 2"),
        ("application/x-ndjson", b"nope\n", "line 1"),
    ],
)
def test_label_files(kind: str, body: bytes, words: str, shared: Api, ready: Callable[[], None]) -> None:
    answer = shared.client.post("/labels?project=p", content=body, headers={"content-type": kind})
    assert_problem(answer, 422, "invalid_labels", words)
    ready()


def test_other_content_type(shared: Api, ready: Callable[[], None]) -> None:
    answer = shared.client.post("/labels?project=p", content=b"x", headers={"content-type": "text/plain"})
    assert_problem(answer, 415, "unsupported_media_type", "text/csv")
    ready()


def test_queries(shared: Api, ready: Callable[[], None]) -> None:
    assert_problem(shared.get("/projects/q"), 404, "unknown_project")
    assert_problem(shared.get("/projects/q/items"), 404, "unknown_project")
    assert_problem(shared.get("/projects/p/items", state="odd"), 422, "invalid_request", "state")
    assert_problem(shared.get("/projects/p/items", after=2**40), 422, "invalid_request", "after")
    assert_problem(shared.get("/labels", project="q"), 404, "unknown_project")
    assert_problem(shared.get("/labels"), 422, "invalid_request", "project")
    assert_problem(shared.get("/projects/p/predictions", items="item-0"), 409, "not_prepared")
    assert_problem(shared.get("/projects/p/predictions", items="nope"), 404, "unknown_item", "'nope'")
    assert_problem(shared.get("/projects/p/predictions"), 422, "invalid_request", "items")
    assert_problem(shared.get("/projects/p/predictions", items='"open'), 422, "invalid_request", "items")
    assert_problem(shared.get("/projects/p/predictions", items="item-0,a\0b"), 422, "invalid_request", "items")
    assert_problem(shared.get("/jobs", before="not a job"), 422, "invalid_request", "before")
    assert_problem(shared.get("/jobs/job-1"), 404, "unknown_job")
    assert_problem(shared.client.put("/label"), 405, "method_not_allowed")
    refused = shared.client.delete("/projects/p/items")
    assert_problem(refused, 405, "method_not_allowed", "GET, PATCH, not DELETE")
    assert shared.client.put("/labels").headers["allow"] == "GET, POST"
    ready()


def test_empty_pool(api: Api) -> None:
    api.project()
    for strategy in ("auto", "random", "mlmoc"):
        assert_problem(api.suggest(strategy=strategy), 409, "empty_pool", "/pool")


def test_failures_of_ours_say_nothing_of_us(app: FastAPI, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.project()

    def fail(*_: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr("service.operations.projects.describe", fail)
    problem = assert_problem(api.get("/projects/p"), 500, "internal_error")
    assert "secret" not in json.dumps(problem)
