"""Other origins, headers that browsers heed, and what must be in order before others can reach the service."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import uvicorn
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service import keys
from service.app import create_app
from service.exposure import objection
from service.protocol import HEAD_MAX, BoundedProtocol
from service.settings import ServiceSettings
from store.database import Sessions
from store.keys import Rights
from tests.api import Api, assert_problem
from tests.service.keyed import keyed_service, prefix_of

PAGE = "https://labels.example.org"


def test_pages_of_named_origins_may_call(settings: ServiceSettings, sessions: Sessions) -> None:
    with keyed_service(settings, sessions, lookahead_cors_origins=f"{PAGE}, http://localhost:3000") as keyed:
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        wanted = asked | {"Access-Control-Request-Headers": "authorization, idempotency-key"}
        preflight = keyed.client.options("/label", headers=wanted)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        refused = keyed.client.get("/projects", headers={"Origin": PAGE})
        assert_problem(refused, 401, "key_missing")
        assert refused.headers["access-control-allow-origin"] == PAGE
        assert "retry-after" in refused.headers["access-control-expose-headers"].lower()
        assert "access-control-allow-credentials" not in refused.headers
        other = keyed.client.get("/livez", headers={"Origin": "https://elsewhere.example.org"})
        assert "access-control-allow-origin" not in other.headers
        assert keyed.client.options("/label", headers=asked | {"Origin": "https://x.example"}).status_code == 400


def test_failures_can_be_read_from_other_origins(settings: ServiceSettings) -> None:
    app = create_app(settings.model_copy(update={"lookahead_cors_origins": PAGE}))

    def fail() -> None:
        raise RuntimeError("on purpose")

    app.add_api_route("/fail", fail)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/fail", headers={"Origin": PAGE})
        assert_problem(answer, 500, "internal_error")
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "access-control-allow-origin" not in client.get("/fail", headers={"Origin": "https://x.org"}).headers


def test_no_origin_is_allowed_unless_named(api: Api) -> None:
    assert "access-control-allow-origin" not in api.client.get("/livez", headers={"Origin": PAGE}).headers


def test_without_keys_pages_of_other_origins_change_nothing(settings: ServiceSettings, sessions: Sessions) -> None:
    body = {"name": "p", "classes": ["a", "b"]}
    with TestClient(create_app(settings.model_copy(update={"lookahead_cors_origins": PAGE}))) as client:
        for origin in ("https://elsewhere.example.org", "null", "http://testserver.example.org"):
            refused = client.post("/projects", json=body, headers={"Origin": origin})
            assert_problem(refused, 403, "origin_refused", "LOOKAHEAD_CORS_ORIGINS")
        assert client.get("/projects", headers={"Origin": "null"}).json()["projects"] == []
        for k, origin in enumerate((PAGE, "http://testserver")):
            made = client.post("/projects", json=body | {"name": f"p{k}"}, headers={"Origin": origin})
            assert made.status_code == 201
    with keyed_service(settings, sessions) as keyed:
        # A key is nothing that a browser sends by itself.
        answer = keyed.new("admin").client.post("/projects", json=body, headers={"Origin": "null"})
        assert answer.status_code == 201


def test_origins_are_checked(settings: ServiceSettings) -> None:
    given = settings.model_dump()
    for wrong in ("labels.example.org", "https://a.example/path", "https://*.example.org", "ftp://a.example"):
        with pytest.raises(ValidationError, match="no origin"):
            ServiceSettings(**given | {"lookahead_cors_origins": wrong})
    with pytest.raises(ValidationError, match="without keys"):
        ServiceSettings(**given | {"lookahead_cors_origins": "*"})
    ServiceSettings(**given | {"lookahead_cors_origins": "*", "lookahead_auth": "on"})


def test_browsers_are_told_what_not_to_do(api: Api) -> None:
    for answer in (api.get("/livez"), api.get("/nowhere"), api.get("/docs")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_beyond_loopback_there_must_be_keys(settings: ServiceSettings, sessions: Sessions) -> None:
    guarded = settings.model_copy(update={"lookahead_auth": "on"})

    def said(given: ServiceSettings = guarded, host: str = "0.0.0.0") -> str:
        return objection(given, host, sessions) or ""

    assert said(settings, "127.0.0.1") == said(guarded, "localhost") == ""
    assert "LOOKAHEAD_AUTH=on" in said(settings)
    assert "lookahead keys create" in said()
    keys.create(sessions, "old", Rights(("admin",), expires_at=datetime.now(UTC) - timedelta(days=1)))
    revoked = keys.create(sessions, "revoked")
    keys.revoke(sessions, prefix_of(revoked))
    assert "no live API key" in said()
    keys.create(sessions, "ann")
    assert said() == ""
    for secret in ("changeme", "<password>", "Secret"):
        url = f"postgresql://app:{secret}@db/lookahead"
        assert "DATABASE_URL is a placeholder" in said(guarded.model_copy(update={"database_url": url}))
    redis = guarded.model_copy(update={"redis_url": "redis://:password@cache:6379/0"})
    assert "REDIS_URL is a placeholder" in said(redis)


def test_a_service_without_keys_does_not_start_for_others(settings: ServiceSettings) -> None:
    given = {name.upper(): getattr(settings, name) for name in ("database_url", "redis_url", "artifacts_url")}
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        env={**os.environ, **given, "LOOKAHEAD_AUTH": "on", "HOST": "127.0.0.2", "PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no live API key" in done.stderr


@pytest.fixture
def port(settings: ServiceSettings) -> Iterator[int]:
    """A real server on loopback."""
    config = uvicorn.Config(create_app(settings), port=0, http=BoundedProtocol, log_level="warning", lifespan="on")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def _reply(port: int, *parts: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
        return connection.recv(4096)


def test_a_head_without_end_is_cut_off(port: int) -> None:
    assert _reply(port, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 200")
    long = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n"
    assert _reply(port, long).startswith(b"HTTP/1.1 431")
    endless = [b"GET /livez HTTP/1.1\r\nX-Long: ", *[b"x" * 65_536] * (HEAD_MAX // 65_536 + 1)]
    assert _reply(port, *endless).startswith(b"HTTP/1.1 400")
    # A body may be longer than any head.
    body = b"x" * (HEAD_MAX * 2)
    head = b"POST /label HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    assert b"malformed_json" in _reply(port, head, body)
