"""Whatever the schema allows, and much that it does not: no failure of ours, and no answer that the schema leaves out.

A short run over every operation that the schema has; `make fuzz` tries many more requests. No worker runs.
"""

import os
import re
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from embedded.process import wait_until
from service.app import create_app
from service.settings import ServiceSettings
from tests.api import Api
from tests.factories import mlp

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "3"))
LONG = EXAMPLES > 10
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


def _described() -> dict[str, Any]:
    """The schema of a service without anything behind it: nothing is connected before the first request."""
    found: dict[str, Any] = create_app(
        ServiceSettings(
            database_url="postgresql+psycopg://nowhere/x", redis_url="redis://nowhere", artifacts_url="memory://x"
        )
    ).openapi()
    return found


_ITEM = re.compile(r"[^\x00-\x1f\x7f]{1,512}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@schemathesis.serializer("application/x-ndjson", "application/offset+octet-stream")
def plain(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


REFUSED = ["400", "401", "403", "404", "405", "406", "408", "409", "412", "413", "415", "422", "423", "429"]
CONFIG = SchemathesisConfig.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}, "generation": {"allow-x00": True}}
)
# What streams without end has tests of its own.
schema = schemathesis.openapi.from_dict(_described(), config=CONFIG).exclude(path="/events")


def aimed(case: Any) -> dict[str, str]:
    """Point most requests that are valid so far at things that exist; returns headers to send."""
    spared = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode(errors="replace")) % 8 == 0
    headers = {} if "prefer" in {name.lower() for name in case.headers or {}} else {"Prefer": "wait=0"}
    if spared:
        return headers
    if case.path.startswith("/uploads"):
        headers["Tus-Resumable"] = "1.0.0"
    for place, name in ((case.path_parameters, "name"), (case.query, "project"), (case.body, "project")):
        # Only what was right already: what is wrong on purpose stays wrong.
        if isinstance(place, dict) and isinstance(place.get(name), str) and _NAME.fullmatch(str(place[name])):
            place[name] = "p"
    if isinstance(case.body, dict):
        entries = case.body.get("labels", [])
        for entry in [case.body, *(entries if isinstance(entries, list) else [])]:
            _point(entry)
    return headers


def _point(entry: Any) -> None:
    if isinstance(entry, dict) and isinstance(entry.get("item"), str) and _ITEM.fullmatch(entry["item"]):
        entry["item"] = f"item-{len(entry['item']) % 30}"
        if isinstance(entry.get("label"), str) and len(entry["label"]) < 100:
            entry["label"] = "abc"[len(entry["label"]) % 3]


@pytest.fixture(scope="module")
def url(shared: Api, shared_app: FastAPI) -> Iterator[str]:
    """The address of a real server, with two projects, one of which has a checkpoint that waits for a worker."""
    api = shared
    api.project("q")
    api.pool(name="q", prefix="q-")
    assert api.checkpoint(mlp(6, [16, 8], 3), "q", options={"hidden": [16, 8]}).status_code == 202
    assert api.label("item-1").status_code == 201
    server = uvicorn.Server(uvicorn.Config(shared_app, host="127.0.0.1", port=0, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert wait_until(lambda: server.started, 20)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_operation(case: Any, url: str) -> None:
    case.call_and_validate(base_url=url, checks=CHECKS, headers=aimed(case), timeout=20)
