"""Metrics of the deployment as a whole: what the database and the queue say at the moment of the scrape."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from rq import worker_registration
from sqlalchemy.exc import SQLAlchemyError

from service.context import Context
from store import jobs
from store.suggestions import held
from store.tables import Project
from worker import queue


class Standing(Collector):
    """Queues, workers, jobs, leases and labels; a part that is away is left out and said to be down."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The families without values: registering asks neither the queue nor the database."""
        yield from (_enqueued(), _workers(), _waiting(), _oldest(), _open(), _leases(), _labels(), _up())

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Everything that can be reached."""
        up = _up()
        for part, read in (("queue", self._of_queue), ("database", self._of_database)):
            try:
                yield from read()
                up.add_metric([part], 1)
            except (RedisError, SQLAlchemyError):
                up.add_metric([part], 0)
        yield up

    def _of_queue(self) -> list[GaugeMetricFamily]:
        enqueued, workers = _enqueued(), _workers()
        redis = self._context.redis
        for name in queue.QUEUES:
            waiting = queue.queue(redis, name)
            enqueued.add_metric([name], len(waiting))
            known = worker_registration.get_keys(queue=waiting)
            # A worker that was killed stays registered until it is missed; its own key expires.
            workers.add_metric([name], redis.exists(*known) if known else 0)
        return [enqueued, workers]

    def _of_database(self) -> list[GaugeMetricFamily | CounterMetricFamily]:
        waiting, oldest, counts, leases, labels = _waiting(), _oldest(), _open(), _leases(), _labels()
        entries = sa.select(sa.func.sum(Project.label_seq)).where(Project.deleted_at.is_(None))
        with self._context.sessions.begin() as session:
            standing = jobs.standing(session)
            leases.add_metric([], held(session))
            labels.add_metric([], float(session.scalar(entries) or 0))
        for name in sorted({*queue.QUEUES, *(group.queue for group in standing)}):
            queued = [group for group in standing if (group.queue, group.status) == (name, "queued")]
            waiting.add_metric([name], sum(group.count for group in queued))
            oldest.add_metric([name], max((group.oldest_seconds for group in queued), default=0.0))
        for group in standing:
            counts.add_metric([group.kind, group.status], group.count)
        return [waiting, oldest, counts, leases, labels]


def _enqueued() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "lookahead_queue_jobs_enqueued", "Jobs that the queue server holds for workers to take", labels=["queue"]
    )


def _workers() -> GaugeMetricFamily:
    return GaugeMetricFamily("lookahead_workers", "Workers alive that serve a queue", labels=["queue"])


def _waiting() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "lookahead_queue_jobs_waiting", "Jobs that wait for a worker, by the database", labels=["queue"]
    )


def _oldest() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "lookahead_queue_oldest_waiting_seconds", "Age of the job that has waited longest", labels=["queue"]
    )


def _open() -> GaugeMetricFamily:
    return GaugeMetricFamily("lookahead_jobs_open", "Jobs queued or running", labels=["kind", "status"])


def _leases() -> GaugeMetricFamily:
    return GaugeMetricFamily("lookahead_leases_held", "Suggestions that annotators hold now")


def _labels() -> CounterMetricFamily:
    return CounterMetricFamily("lookahead_label_events", "Entries of all label logs: labels, skips and withdrawals")


def _up() -> GaugeMetricFamily:
    return GaugeMetricFamily("lookahead_part_up", "1 if the part answered this scrape, else 0", labels=["part"])
