"""One trace from the request through the queue to the worker's stages."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from service.app import create_app
from service.settings import ServiceSettings
from telemetry import traces
from telemetry.otlp import Otlp
from tests.api import Api
from tests.worker.conftest import run_queued
from worker import jobs
from worker.context import Context

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(settings: ServiceSettings, worker: Context, exporter: InMemorySpanExporter) -> Iterator[tuple[Api, Context]]:
    """Service and worker, each with a provider of its own, as in two processes."""
    worker.tracing = Otlp("worker", SimpleSpanProcessor(exporter))
    with TestClient(
        create_app(settings, Otlp("service", SimpleSpanProcessor(exporter))), raise_server_exceptions=False
    ) as client:
        worker.redis.flushdb()
        yield Api(client), worker


def attribute(span: ReadableSpan, name: str) -> str:
    return str((span.attributes or {})[name])


def test_one_trace_with_the_right_parents(traced: tuple[Api, Context], exporter: InMemorySpanExporter) -> None:
    api, worker = traced
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    exporter.clear()
    answer = api.suggest(headers={"Prefer": "wait=0", "traceparent": CALLER})
    assert answer.status_code == 202
    run_queued(worker)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request, job = spans["POST /suggest"], spans["job suggest"]
    assert {format(span.context.trace_id, "032x") for span in spans.values()} == {CALLER.split("-")[1]}
    assert request.parent is not None
    assert format(request.parent.span_id, "016x") == CALLER.split("-")[2]
    for child, parent in (("enqueue", request), ("job suggest", request), ("score", job), ("store", job)):
        found = spans[child].parent
        assert found is not None, child
        assert found.span_id == parent.context.span_id, child
    assert request.resource.attributes["service.name"] == "lookahead-service"
    assert job.resource.attributes["service.name"] == "lookahead-worker"
    assert attribute(job, "lookahead.job") == answer.json()["id"]
    assert (job.start_time or 0) <= (spans["score"].start_time or 0) <= (spans["score"].end_time or 0)
    assert (spans["store"].end_time or 0) <= (job.end_time or 0)


def test_long_jobs_have_their_stages(traced: tuple[Api, Context], exporter: InMemorySpanExporter) -> None:
    api, worker = traced
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    spans = exporter.get_finished_spans()
    (job,) = (span for span in spans if span.name == "job prepare")
    stages = {span.name for span in spans if span.parent and span.parent.span_id == job.context.span_id}
    assert {"outputs", "kernel", "factor", "saving"} <= stages


def test_failures_mark_the_span_and_tell_no_contents(
    traced: tuple[Api, Context], exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, worker = traced
    api.project()
    api.pool()

    def breaks(*_: object) -> None:
        raise RuntimeError("what the annotator wrote")

    monkeypatch.setitem(jobs.KINDS, "suggest", breaks)
    api.client.get("/projects?after=a-secret-key")
    api.suggest(strategy="random", headers={"Prefer": "wait=0", "Authorization": "Bearer a-secret-key"})
    run_queued(worker)
    spans = exporter.get_finished_spans()
    (job,) = (span for span in spans if span.name == "job suggest")
    assert (job.status.status_code, job.status.description) == (StatusCode.ERROR, "RuntimeError")
    everything = "".join(span.to_json() for span in spans)
    assert "GET /projects" in everything
    assert "a-secret-key" not in everything
    assert "annotator wrote" not in everything


def test_probes_and_what_no_request_asked_for_make_no_spans(
    traced: tuple[Api, Context], exporter: InMemorySpanExporter
) -> None:
    api, worker = traced
    for path in ("/livez", "/readyz", "/metrics"):
        api.get(path)
    worker.on_lap("lookahead")("score", 0.1)
    assert exporter.get_finished_spans() == ()


def test_off_means_nothing_is_loaded() -> None:
    code = """
import sys, service.app
from telemetry import traces
assert type(traces.make("off", "service")) is traces.Tracing
# Clients of servers load parts of the packages by themselves where they are installed: ours are these.
loaded = [name for name in sys.modules if name.startswith(("opentelemetry.exporter", "opentelemetry.instrumentation"))]
sys.exit(bool(loaded) or "telemetry.otlp" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_on_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "telemetry.otlp", None)
    monkeypatch.delattr("telemetry.otlp", raising=False)
    with pytest.raises(RuntimeError, match=r"lookahead\[tracing\]"):
        traces.make("otlp", "service")
