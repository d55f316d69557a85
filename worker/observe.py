"""What is told of a job while it runs: fields of its log lines, its time and outcome, its span."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from store.tables import Job
from worker.context import Context
from worker.errors import CancelledError, ShuttingDownError
from worker.progress import Reporter


def fields(job: Job) -> dict[str, Any]:
    """What every line in a job carries."""
    return {
        "job_id": job.id,
        "kind": job.kind,
        "project_id": job.project_id,
        "attempt": job.attempt,
        "request_id": job.request_id,
    }


@contextmanager
def observed(context: Context, job: Job) -> Iterator[Reporter]:
    """Time the block as this job's work, and make it a span that goes on from the request's."""
    reporter = Reporter(context, job)
    if job.attempt == 1 and job.started_at is not None:
        waited = (job.started_at - job.created_at).total_seconds()
        context.metrics.job_wait_seconds.labels(job.queue).observe(max(waited, 0.0))
    attributes: dict[str, str | int] = {
        "lookahead.job": job.id,
        "lookahead.project_id": job.project_id,
        "lookahead.attempt": job.attempt,
    }
    started, outcome = time.perf_counter(), "failed"
    try:
        with context.tracing.span(f"job {job.kind}", kind="consumer", parent=job.trace, attributes=attributes):
            yield reporter
            reporter.end_stage()
        outcome = "succeeded"
    except CancelledError:
        outcome = "cancelled"
        raise
    except ShuttingDownError:
        outcome = "put_back"
        raise
    finally:
        context.metrics.job_seconds.labels(job.kind, outcome).observe(time.perf_counter() - started)
