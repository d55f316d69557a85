"""The audit log: what changed something and what was refused, and nothing else."""

import logging
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service import keys
from service.app import create_app
from service.audit import AuditMiddleware
from service.settings import ServiceSettings
from store.database import Sessions
from store.tables import AuditEntry
from tests.api import Api
from tests.service.keyed import Keyed, prefix_of

Row = tuple[str | None, str, str, str | None, int]


def entries(sessions: Sessions) -> list[Row]:
    with sessions.begin() as session:
        found = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id)).all()
    return [(e.key_prefix, e.method, e.path, e.project, e.status) for e in found]


def test_who_did_what(keyed: Keyed, sessions: Sessions) -> None:
    key = keyed.key("admin")
    admin, who = keyed.holder(key), prefix_of(key)
    admin.project()
    admin.pool()
    job = admin.mlp()["id"]
    admin.post(f"/jobs/{job}/cancel")
    made = admin.post("/keys", {"name": "n", "scopes": ["read"]}).json()
    admin.client.delete(f"/keys/{made['prefix']}")
    for silent in (admin.get("/projects"), admin.get(f"/jobs/{job}"), admin.get("/nowhere")):
        assert silent.status_code in {200, 404}
    assert admin.post("/projects", {"name": "p", "classes": ["a", "b"]}).status_code == 409  # changed nothing
    assert entries(sessions) == [
        (who, "POST", "/projects", "p", 201),
        (who, "POST", "/projects/{name}/pool", "p", 201),
        (who, "POST", "/projects/{name}/checkpoints", "p", 202),
        (who, "POST", f"/jobs/{job}/cancel", "p", 202),
        (who, "POST", f"/keys -> {made['prefix']}", None, 201),
        (who, "DELETE", f"/keys/{made['prefix']}", None, 200),
    ]


def test_labels_and_suggestions_have_records_of_their_own(keyed: Keyed, sessions: Sessions) -> None:
    admin = keyed.new("admin")
    admin.project()
    admin.pool()
    before = entries(sessions)
    assert admin.label("item-1").status_code == 201
    assert admin.post("/labels", {"project": "p", "labels": [{"item": "item-2", "label": "b"}]}).status_code == 201
    assert admin.suggest(strategy="random", headers={"Prefer": "wait=0"}).status_code == 202
    assert entries(sessions) == before


def test_every_refusal_is_kept(keyed: Keyed, sessions: Sessions) -> None:
    limited = keyed.key("read", projects=["p"], per_minute=2)
    who = prefix_of(limited)
    keyed.client.get("/projects")
    keyed.client.post("/label", json={})
    keyed.holder("lk_00000000_nonsense").get("/projects/secret")
    keyed.holder(limited).label("item-1")
    keyed.holder(limited).get("/projects/theirs")  # 404: it is told that there is none
    keyed.holder(limited).get("/projects/p")
    assert entries(sessions) == [
        (None, "GET", "/projects", None, 401),
        (None, "POST", "/label", None, 401),
        (None, "GET", "/projects/{name}", "secret", 401),
        (who, "POST", "/label", None, 403),
        (who, "GET", "/projects/{name}", "p", 429),
    ]
    with sessions.begin() as session:
        last = session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert last is not None
    assert last.client == "testclient"
    assert len(last.request_id) == 32


def test_without_keys_changes_are_kept_too(api: Api, sessions: Sessions) -> None:
    api.project()
    assert entries(sessions) == [(None, "POST", "/projects", "p", 201)]


def test_reading_the_audit(keyed: Keyed) -> None:
    admin = keyed.new("admin")
    for name in ("p", "q", "r"):
        admin.project(name)
    page = admin.get("/audit", limit=2).json()
    assert [entry["project"] for entry in page["entries"]] == ["p", "q"]
    rest = admin.get("/audit", limit=2, after=page["next"]).json()
    assert [entry["project"] for entry in rest["entries"]] == ["r"]
    assert admin.get("/audit", after=rest["next"]).json() == {"entries": [], "next": rest["next"]}
    assert [entry["project"] for entry in admin.get("/audit", project="q").json()["entries"]] == ["q"]
    tenant = keyed.new("admin", projects=["q"])
    assert [entry["project"] for entry in tenant.get("/audit").json()["entries"]] == ["q"]


def test_the_audit_on_the_command_line(
    keyed: Keyed, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("database_url", "redis_url", "artifacts_url"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    key = keyed.key("admin")
    for name in ("p", "q", "r"):
        keyed.holder(key).project(name)
    assert keys.main(["audit", "--limit", "2"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[2:8] for row in rows] == [
        [prefix_of(key), "testclient", "201", "POST", "/projects", name] for name in ("q", "r")
    ]
    assert keys.main(["audit", "--project", "p"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_flood_of_refusals_does_not_fill_the_disk(
    app: FastAPI, sessions: Sessions, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = AuditMiddleware(app, sessions, refusals_per_minute=3)
    scope: dict[str, Any] = {"type": "http", "method": "GET"}
    assert [audit._wanted(scope, 401) for _ in range(5)] == [True] * 3 + [False] * 2
    monkeypatch.setattr("time.monotonic", lambda: audit._minute + 61)
    with caplog.at_level(logging.WARNING):
        assert audit._wanted(scope, 403)
    assert "leaves out 2 refusals" in caplog.text


def test_an_audit_that_cannot_be_written_keeps_nobody_waiting(
    keyed: Keyed, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    admin = keyed.new("admin")
    with sessions.begin() as session:
        session.execute(sa.text("ALTER TABLE audit_entries RENAME TO elsewhere"))
    admin.project()
    assert "is missing from the audit" in caplog.text


def test_our_own_failures_are_kept(settings: ServiceSettings, sessions: Sessions) -> None:
    app = create_app(settings)

    def fail() -> None:
        raise RuntimeError("on purpose")

    app.add_api_route("/fail", fail, methods=["POST"])
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post("/fail").status_code == 500
    assert entries(sessions) == [(None, "POST", "undeclared", None, 500)]
