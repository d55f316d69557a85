"""What requests leave in the log, and what they never leave there."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from service import keys
from service.app import create_app
from service.metrics import MetricsMiddleware
from service.settings import ServiceSettings
from store.database import Sessions
from store.tables import Job
from tests.api import Api
from tests.logged import Written, logged

SECRET = "lk_0a1b2c3d_" + "s3cr3tZ" * 6


@pytest.fixture
def written() -> Iterator[Written]:
    with logged() as found:
        yield found


def test_one_line_per_request_with_its_id(api: Api, written: Written) -> None:
    api.project()
    api.pool()
    answer = api.client.post(
        "/label", json={"project": "p", "item": "item-1", "label": "a"}, headers={"X-Request-ID": "mine-1"}
    )
    assert answer.status_code == 201
    api.get("/projects/nowhere")
    created, _, labeled, missing = written.lines("service.access")
    assert (labeled["event"], labeled["method"], labeled["route"], labeled["status"]) == (
        "request",
        "POST",
        "/label",
        201,
    )
    assert labeled["request_id"] == "mine-1"
    assert 0 < labeled["milliseconds"] < 60_000
    assert labeled["level"] == "info"
    assert (missing["route"], missing["status"]) == ("/projects/{name}", 404)
    assert len({line["request_id"] for line in (created, labeled, missing)}) == 3


def test_the_line_names_the_key_by_its_prefix(written: Written, app: FastAPI) -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        scope["caller"] = SimpleNamespace(prefix="0a1b2c3d")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    TestClient(MetricsMiddleware(inner, app.state.metrics)).get("/anything")
    (line,) = written.lines("service.access")
    assert (line["key"], line["route"], line["status"]) == ("0a1b2c3d", "unknown", 204)


def test_probes_whisper(api: Api, written: Written) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        api.get(path)
    assert {line["route"]: line["level"] for line in written.lines("service.access")} == {
        "/livez": "debug",
        "/readyz": "debug",
        "/metrics": "debug",
    }


def test_a_job_is_named_in_the_line_and_names_the_request(api: Api, written: Written, sessions: Sessions) -> None:
    api.project()
    api.pool()
    api.mlp()
    answer = api.suggest(strategy="random", headers={"Prefer": "wait=0", "X-Request-ID": "ask-1"})
    assert answer.status_code == 202
    lines = written.lines("service.access")
    assert lines[-1]["job_id"] == answer.json()["id"]
    with sessions.begin() as session:
        for line in lines[-2:]:
            assert session.get_one(Job, line["job_id"]).request_id == line["request_id"]


def test_an_error_of_ours_has_its_traceback_under_the_request(
    app: FastAPI, api: Api, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError(f"cannot reach postgresql://app:{SECRET}@db/x")

    monkeypatch.setattr("service.operations.projects.show", breaks)
    answer = api.get("/projects/p")
    assert answer.status_code == 500
    (failed,) = written.lines("service.problems")
    assert failed["request_id"] == answer.json()["request_id"]
    assert failed["exception"][0]["exc_type"] == "RuntimeError"
    assert failed["exception"][0]["exc_value"] == "cannot reach postgresql://app:***@db/x"
    (line,) = written.lines("service.access")
    assert (line["status"], line["request_id"]) == (500, failed["request_id"])


def test_keys_and_contents_are_in_no_line(settings: ServiceSettings, sessions: Sessions, written: Written) -> None:
    key = keys.create(sessions, "ann")
    assert isinstance(key, str)
    secrets = (key, SECRET)
    guarded = settings.model_copy(update={"lookahead_auth": "on"})
    with TestClient(create_app(guarded), raise_server_exceptions=False) as client:
        for secret in secrets:
            head = {"Authorization": f"Bearer {secret}", "X-Request-ID": secret, "X-Api-Key": secret}
            client.get(f"/projects?key={secret}", headers=head)
            client.get(f"/projects/{secret}", headers=head)
            client.get(f"/{secret}", headers=head)
            client.post("/projects", json={"name": "p", "classes": [secret, "b"]}, headers=head)
            client.post("/label", json={"project": secret, "item": "my item", "label": secret}, headers=head)
            client.post("/label", content=f'{{"broken": {secret}', headers=head | {"Content-Type": "application/json"})
    assert len(written.lines("service.access")) == 12
    for secret in secrets:
        assert secret.partition("_")[2].partition("_")[2] not in written.text
    assert "my item" not in written.text


def test_statements_that_fail_are_logged_without_their_values(sessions: Sessions, written: Written) -> None:
    import logging

    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with sessions.begin() as session:
            session.execute(sa.text("SELECT nowhere FROM projects WHERE name = :name"), {"name": "a class I typed"})
    except SQLAlchemyError:
        logging.getLogger("service.tests").exception("failed")
    assert "nowhere" in written.text
    assert "a class I typed" not in written.text
