"""The service around its routes: health, keys, request ids, the schema."""

import time
from pathlib import Path
from typing import get_args

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api_schemas.strategies import StrategyName
from embedded.servers import Valkey
from service import keys
from service.app import create_app
from service.auth import CACHE_SECONDS
from service.settings import ServiceSettings
from store.database import Sessions
from tests.api import PROBLEM, Api, assert_problem


def test_health(api: Api) -> None:
    assert api.get("/livez").json() == {"status": "ok", "parts": {}}
    ready = api.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["parts"] == {
        "database": "ok",
        "queue": "ok",
        "artifacts": "ok",
        "workers": "bulk 0, interactive 0",
    }


def test_not_ready_says_what_is_missing(settings: ServiceSettings) -> None:
    away = settings.model_copy(update={"redis_url": "unix:///nowhere.sock"})
    with TestClient(create_app(away)) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["parts"] == {"database": "ok", "queue": "unavailable", "artifacts": "ok"}


def test_a_queue_that_is_away_changes_nothing(settings: ServiceSettings, api: Api, sessions: Sessions) -> None:
    api.project()
    api.pool()
    away = settings.model_copy(update={"redis_url": "unix:///nowhere.sock"})
    with TestClient(create_app(away), raise_server_exceptions=False) as client:
        answer = Api(client).suggest(strategy="random")
        assert_problem(answer, 503, "queue_unavailable")
        assert answer.headers["retry-after"] == "2"
        assert Api(client).label("item-1").status_code == 201
    assert [job["status"] for job in api.get("/jobs").json()["jobs"]] == ["cancelled"]


def test_a_database_that_is_away(settings: ServiceSettings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://app@/none?host=/nowhere"})
    with TestClient(create_app(away), raise_server_exceptions=False) as client:
        answer = client.get("/projects")
        assert_problem(answer, 503, "database_unavailable", "try again")
        assert answer.headers["retry-after"] == "2"


def test_metrics(api: Api) -> None:
    api.project()
    api.pool()
    api.label("item-1")
    api.mlp()
    api.get("/projects/nowhere")
    text = api.get("/metrics").text
    for line in (
        'lookahead_http_requests_total{method="POST",process="service-1",route="/label",status="201"} 1.0',
        'lookahead_http_requests_total{method="GET",process="service-1",route="/projects/{name}",status="404"} 1.0',
        'lookahead_http_request_seconds_count{method="POST",process="service-1",route="/label"} 1.0',
        'lookahead_queue_jobs_enqueued{queue="bulk"} 1.0',
        'lookahead_queue_jobs_waiting{queue="bulk"} 1.0',
        'lookahead_queue_jobs_waiting{queue="interactive"} 0.0',
        "lookahead_leases_held 0.0",
        'lookahead_label_commit_entries_count{process="service-1"} 1.0',
        'lookahead_part_up{part="database"} 1.0',
        'lookahead_workers{queue="interactive"} 0.0',
        'lookahead_jobs_open{kind="prepare",status="queued"} 1.0',
        "lookahead_label_events_total 1.0",
    ):
        assert line in text.splitlines(), text


def test_request_ids(api: Api) -> None:
    given = api.client.get("/livez", headers={"X-Request-ID": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    for odd in ("a b", "x" * 65, "<script>"):
        made = api.client.get("/livez", headers={"X-Request-ID": odd})
        assert made.headers["x-request-id"] not in {odd, ""}


def test_keys(settings: ServiceSettings, sessions: Sessions) -> None:
    guarded = settings.model_copy(update={"lookahead_auth": "on"})
    key = keys.create(sessions, "ann")
    assert key.startswith("lk_")
    with TestClient(create_app(guarded), raise_server_exceptions=False) as client:
        assert client.get("/livez").status_code == 200
        missing = client.get("/projects")
        assert_problem(missing, 401, "key_missing", "Authorization")
        assert missing.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer nonsense", f"Basic {key}", f"Bearer {key}x", "Bearer "):
            assert client.get("/projects", headers={"Authorization": wrong}).status_code == 401
        mine = {"Authorization": f"Bearer {key}"}
        assert client.get("/projects", headers=mine).status_code == 200
        assert keys.revoke(sessions, key.split("_")[1])
        # Revoked by another process: this one takes note when it asks the database again.
        ended = time.monotonic()
        while client.get("/projects", headers=mine).status_code == 200:
            assert time.monotonic() - ended < CACHE_SECONDS + 0.5
            time.sleep(0.05)
        assert_problem(client.get("/projects", headers=mine), 401, "key_unknown")
        assert not keys.revoke(sessions, key.split("_")[1])


def test_keys_from_the_command_line(
    settings: ServiceSettings, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("database_url", "redis_url", "artifacts_url"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    assert keys.main(["create", "--name", "ann"]) == 0
    prefix = capsys.readouterr().out.split("_")[1]
    assert keys.main(["list"]) == 0
    assert capsys.readouterr().out.startswith(f"{prefix}\tlive\t")
    assert keys.main(["revoke", prefix]) == 0
    assert keys.main(["revoke", prefix]) == 1


def test_every_route_declares_its_problems(app: FastAPI) -> None:
    schema = app.openapi()
    assert "Problem" in schema["components"]["schemas"]
    for path, methods in schema["paths"].items():
        if path in {"/livez", "/readyz"}:
            continue
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == [PROBLEM], (path, method, status)
            assert {"401", "422", "500"} <= operation["responses"].keys()
            assert operation["summary"]
            assert operation["description"]


def test_project_pages(api: Api) -> None:
    for name in ("b", "a", "c"):
        api.project(name)
    first = api.get("/projects", limit=2).json()
    assert ([p["name"] for p in first["projects"]], first["next"]) == (["a", "b"], "b")
    rest = api.get("/projects", limit=2, after="b").json()
    assert ([p["name"] for p in rest["projects"]], rest["next"]) == (["c"], None)


def test_strategies_say_what_they_take(api: Api) -> None:
    found = {s["name"]: s for s in api.get("/strategies").json()["strategies"]}
    assert found.keys() == set(get_args(StrategyName)) - {"auto"}
    assert found["mlmoc"]["options"]["properties"].keys() == {"why", "reference", "batch", "change", "noise"}
    assert found["random"]["needs"] == []
    assert all(s["source"] and s["summary"] for s in found.values())


def test_checkpoints_are_named_by_content(api: Api) -> None:
    api.project()
    api.pool()
    first, again, other = api.mlp(), api.mlp(), api.mlp(seed=1)
    assert len({first["id"], again["id"], other["id"]}) == 3
    assert first["status"] == "queued"
    assert first["links"]["events"] == f"/jobs/{first['id']}/events"


def test_artifacts_of_one_content_are_one(api: Api, tmp_path: Path) -> None:
    api.project()
    api.project("q")
    for name in ("p", "q"):
        api.pool(name=name)
    assert len([path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]) == 1
