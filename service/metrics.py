"""Prometheus metrics of a service process, and the line that each request leaves in the log."""

import logging
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.context import Context
from service.standing import Standing
from store.database import connections
from telemetry.gauges import watch_process
from telemetry.snapshots import Publisher

log = logging.getLogger("service.access")

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Asked every few seconds by machines: their lines would bury the others.
_PROBES = frozenset({"/livez", "/readyz", "/metrics"})


class Metrics:
    """The registry of one service process, and what it needs to answer for all processes."""

    def __init__(self, context: Context) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lookahead_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "lookahead_http_request_seconds",
            "Time to the end of the answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.label_commit_entries = Histogram(
            "lookahead_label_commit_entries",
            "Requests of POST /label that one transaction took",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self.event_streams = Gauge(
            "lookahead_event_streams", "Streams of live events that are open", registry=self.registry
        )
        watch_process(
            self.registry,
            connections=lambda: connections(context.sessions),
            disk_free=context.artifacts.free_bytes,
        )
        self.standing = CollectorRegistry()
        self.standing.register(Standing(context))
        self.publisher = Publisher(context.redis, "service", self.registry)

    def everything(self) -> list[Metric]:
        """What stands, without a process, and every process's own."""
        return [*self.standing.collect(), *self.publisher.everything()]


class MetricsMiddleware:
    """Counts, times and logs every request under its route's template, so that names make no new series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", None) or scope.get("template", "unknown")
            seconds = time.perf_counter() - started
            self.metrics.requests.labels(scope["method"], route, str(status)).inc()
            self.metrics.seconds.labels(scope["method"], route).observe(seconds)
            _log_request(scope, route, status, seconds)


def _log_request(scope: Scope, route: str, status: int, seconds: float) -> None:
    """One line with nothing that the caller wrote: no path, no query, no headers."""
    prefix = getattr(scope.get("caller"), "prefix", None)
    log.log(
        logging.DEBUG if route in _PROBES else logging.INFO,
        "request",
        extra={
            "method": scope["method"],
            "route": route,
            "status": status,
            "milliseconds": round(1000 * seconds, 2),
        }
        | ({} if prefix is None else {"key": prefix}),
    )
