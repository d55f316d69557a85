"""Requests per minute, tries without a key, and sizes of what is sent."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.auth import CACHE_SECONDS
from service.limits import Limiter
from service.middleware import ADDRESS_MAX, HEADERS_MAX
from service.settings import ServiceSettings
from store.database import Sessions
from tests.api import Api, assert_problem, npz, vectors
from tests.service.keyed import Keyed, keyed_service

NOWHERE = "unix:///nowhere.sock"


def test_a_limited_key_is_told_how_much_is_left(keyed: Keyed) -> None:
    limited, free = keyed.new("read", per_minute=3), keyed.new("read")
    for left in (2, 1, 0):
        answer = limited.get("/projects")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"key";q=3;w=60'
        assert answer.headers["ratelimit"].startswith(f'"key";r={left};t=')
    refused = limited.get("/projects")
    assert_problem(refused, 429, "rate_limited", "3 requests per minute", "Retry-After")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"key";r=0;t=')
    assert "ratelimit" not in free.get("/projects").headers
    # What a key may not do costs it a request too.
    other = keyed.new("read", per_minute=1)
    assert_problem(other.label("item-1"), 403, "scope_missing")
    assert_problem(other.get("/projects"), 429, "rate_limited")


def test_processes_count_together(keyed: Keyed, settings: ServiceSettings, sessions: Sessions) -> None:
    key = keyed.key("read", per_minute=20)
    with keyed_service(settings, sessions) as other, ThreadPoolExecutor(4) as pool:
        hands = [api.holder(key) for api in (keyed, other)] * 15
        statuses = list(pool.map(lambda api: api.get("/projects").status_code, hands))
    assert sorted(statuses) == [200] * 20 + [429] * 10


def test_without_redis_each_process_counts_alone(settings: ServiceSettings, sessions: Sessions) -> None:
    away = settings.model_copy(update={"redis_url": NOWHERE})
    with keyed_service(away, sessions) as keyed:
        limited = keyed.new("read", per_minute=2)
        assert [limited.get("/projects").status_code for _ in range(3)] == [200, 200, 429]


def test_the_window_slides(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the turn of the minute there is no second helping."""
    limiter = Limiter(NOWHERE)
    start = 60_000_059.0  # a second before the turn
    monkeypatch.setattr(time, "time", lambda: start)
    assert [limiter.take(10, "key", "a").allowed for _ in range(11)] == [True] * 10 + [False]
    monkeypatch.setattr(time, "time", lambda: start + 2)
    assert sum(limiter.take(10, "key", "a").allowed for _ in range(10)) <= 2
    assert limiter.take(10, "key", "b").allowed
    limiter.close()


def test_who_tries_keys_is_stopped(settings: ServiceSettings, sessions: Sessions, keyed: Keyed) -> None:
    with keyed_service(settings, sessions, lookahead_failures_per_minute=5) as guarded:
        used = guarded.new("read")
        assert used.get("/projects").status_code == 200
        for k in range(5):
            headers = {} if k % 2 else {"Authorization": f"Bearer lk_00000000_{k}"}
            assert guarded.client.get("/projects", headers=headers).status_code == 401
        for headers in ({}, {"Authorization": "Bearer lk_00000000_x"}):
            refused = guarded.client.get("/projects", headers=headers)
            assert_problem(refused, 429, "rate_limited", "without a valid key")
            assert int(refused.headers["retry-after"]) >= 1
        # No further key is tried, be it the right one; those in use go on, past the moment they are remembered.
        assert guarded.new("read").get("/projects").status_code == 429
        time.sleep(CACHE_SECONDS + 0.1)
        assert used.get("/projects").status_code == 200
        assert guarded.client.get("/livez").status_code == 200


def test_long_heads_are_refused(api: Api) -> None:
    assert_problem(api.client.get("/projects", headers={"X-Long": "x" * HEADERS_MAX}), 431, "headers_too_large")
    halves = f"/{'x' * (ADDRESS_MAX // 2)}", "x" * (ADDRESS_MAX // 2)
    assert_problem(api.get(halves[0], after=halves[1]), 414, "address_too_long")


def test_forms_with_many_parts_are_refused(api: Api) -> None:
    api.project()
    part = ("file", ("pool.npz", npz(x=vectors(3))))
    fields = {f"field-{k}": "x" for k in range(20)}
    answer = api.client.post("/projects/p/pool", files=[part], data=fields)
    assert_problem(answer, 400, "malformed_request", "fields")
    many = api.client.post("/projects/p/pool", files=[part] * 6)
    assert_problem(many, 400, "malformed_request", "files")
