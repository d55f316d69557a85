"""Traces by OpenTelemetry. Needs the extra `tracing`; the OTEL_* variables say where spans go and how many."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.redaction import redacted_text
from telemetry.traces import Carrier, Kind, Tracing

_UNTRACED = "livez,readyz,metrics"
_KINDS = {"internal": SpanKind.INTERNAL, "producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER}


class Otlp(Tracing):
    """Spans handed to a processor of OpenTelemetry's."""

    def __init__(self, role: str, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(resource=_resource(role))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("lookahead")
        # Jobs go on from the trace alone: baggage is the caller's, of any size and content.
        self._propagator = TraceContextTextMapPropagator()

    def instrument(self, app: Any) -> None:
        """Make a span of every request of a FastAPI app, without its query."""
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=self._provider,
            excluded_urls=_UNTRACED,
            exclude_spans=["receive", "send"],
            server_request_hook=_without_query,
        )

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: Mapping[str, str] | None = None,
        attributes: Mapping[str, str | int] | None = None,
    ) -> Iterator[None]:
        """A span around the block; an error marks it, by the name of its class alone."""
        context = None if parent is None else self._propagator.extract(parent)
        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=_KINDS[kind],
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def record(self, name: str, seconds: float) -> None:
        """A span that ends now and took `seconds`, if one is in force to be its parent."""
        if trace.get_current_span().get_span_context().is_valid:
            now = time.time_ns()
            self._tracer.start_span(name, start_time=now - int(seconds * 1e9)).end(now)

    def carrier(self) -> Carrier | None:
        """The span in force as `traceparent` and `tracestate`."""
        found: Carrier = {}
        self._propagator.inject(found)
        return found or None

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def over_http(role: str) -> Otlp:
    """Spans sent by OTLP over HTTP, in batches, where OTEL_EXPORTER_OTLP_ENDPOINT says."""
    return Otlp(role, BatchSpanProcessor(OTLPSpanExporter()))


def _resource(role: str) -> Resource:
    found = Resource.create()
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: f"lookahead-{role}"}))
    return found


def _without_query(span: Span, scope: dict[str, Any]) -> None:
    """Queries may hold what a trace must not: contents and, by mistake, keys."""
    if not span.is_recording():
        return
    for name, value in dict(getattr(span, "attributes", None) or {}).items():
        if name == "url.query":
            span.set_attribute(name, "")
        elif isinstance(value, str) and name.startswith(("http.", "url.")):
            span.set_attribute(name, redacted_text(value.partition("?")[0]))
