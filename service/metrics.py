"""Prometheus metrics: requests as they pass, queues and jobs as they stand when asked."""

import time
from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from rq import Worker
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.context import Context
from store.tables import Job, Project
from worker import queue

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The registry of one service process."""

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
        self.registry.register(_Standing(context))


class _Standing(Collector):
    """What the queue and the database say at the moment of the scrape; a part that is away is left out."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: so that registering asks neither the queue nor the database."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Queue depths, workers, open jobs and labels."""
        depth = GaugeMetricFamily("lookahead_queue_depth", "Jobs waiting in a queue", labels=["queue"])
        workers = GaugeMetricFamily("lookahead_workers", "Workers that serve a queue", labels=["queue"])
        try:
            for name in queue.QUEUES:
                waiting = queue.queue(self._context.redis, name)
                depth.add_metric([name], len(waiting))
                workers.add_metric([name], Worker.count(queue=waiting))
            yield depth
            yield workers
        except RedisError:
            pass
        jobs = GaugeMetricFamily("lookahead_jobs_open", "Jobs queued or running", labels=["kind", "status"])
        labels = GaugeMetricFamily("lookahead_label_events", "Entries of all label logs")
        try:
            with self._context.sessions.begin() as session:
                count = sa.select(Job.kind, Job.status, sa.func.count()).where(Job.status.in_(["queued", "running"]))
                for kind, status, number in session.execute(count.group_by(Job.kind, Job.status)):
                    jobs.add_metric([kind, status], number)
                labels.add_metric([], float(session.scalar(sa.select(sa.func.sum(Project.label_seq))) or 0))
            yield jobs
            yield labels
        except SQLAlchemyError:
            pass


class MetricsMiddleware:
    """Counts and times every request under its route's template, so that names make no new series."""

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
            self.metrics.requests.labels(scope["method"], route, str(status)).inc()
            self.metrics.seconds.labels(scope["method"], route).observe(time.perf_counter() - started)
