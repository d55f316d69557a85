"""Score every candidate, best first. As `suggest` does it, but nothing is handed out: no leases, no suggestions."""

from store import jobs
from store.tables import Job, Json, Project
from worker.catch_up import retried, synchronised
from worker.context import Context
from worker.errors import CancelledError
from worker.picks import Stopwatch, picked
from worker.progress import Reporter
from worker.strategies.choose import family_of


def score(context: Context, job: Job, reporter: Reporter) -> Json | None:
    """All candidates of the window in the order of `arguments.strategy`, with their classes."""
    return retried(context, lambda: _attempt(context, job, reporter))


def _attempt(context: Context, job: Job, reporter: Reporter) -> None:
    watch = Stopwatch(context.on_lap(family_of(job.arguments["strategy"])))
    with synchronised(context, job.project_id, reporter) as live:
        watch.lap("catch_up")
        count = max(live.posterior.m, 1)
        chosen = picked(context, live, job.arguments | {"count": count}, set(), None, reporter, watch)
        with context.sessions.begin() as session:
            classes = session.get_one(Project, job.project_id).classes
            result: Json = {
                "label_seq": live.applied_seq,
                "state": live.state_id,
                "strategy": job.arguments["strategy"],
                "positions": [pick.position for pick in chosen.picks],
                "predicted": [None if pick.predicted is None else classes[pick.predicted] for pick in chosen.picks],
                "confidence": [pick.confidence for pick in chosen.picks],
                "timings": watch.stages,
            }
            if not jobs.finish(session, job, "succeeded", result=result):
                raise CancelledError
