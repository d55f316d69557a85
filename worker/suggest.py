"""Suggest: catch up with the labels, score, pick, store the suggestions with their leases, answer."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from store import bandits, jobs, opinions, pools, states, suggestions
from store.database import relax_durability
from store.errors import LeasedMeanwhileError
from store.tables import Job, Json, KernelState, Project
from worker import queue
from worker.catch_up import retried, synchronised
from worker.context import Context
from worker.errors import CancelledError, JobError
from worker.gram import to_list
from worker.live import Live
from worker.picks import Pick, Stopwatch, picked
from worker.progress import Reporter
from worker.strategies.choose import family_of

log = logging.getLogger(__name__)


def suggest(context: Context, job: Job, reporter: Reporter) -> Json | None:
    """Run the job; suggestions, leases and the answer are written in one transaction."""
    try:
        return retried(context, lambda: _from_model(context, job, reporter))
    except JobError as error:
        if error.code not in {"not_prepared", "artifact_lost"} or not _needs_no_model(job.arguments):
            raise
        log.info("project %d: random suggestions without a kernel state: %s", job.project_id, error)
    return retried(context, lambda: _from_pool(context, job))


def _needs_no_model(arguments: Json) -> bool:
    return arguments["strategy"] == "random" and arguments["per_class"] is None and arguments["min_distance"] is None


def _from_model(context: Context, job: Job, reporter: Reporter) -> None:
    arguments = job.arguments
    watch = Stopwatch(context.on_lap(family_of(arguments["strategy"])))
    with synchronised(context, job.project_id, reporter) as live:
        watch.lap("catch_up")
        with context.sessions.begin() as session:
            barred = _barred(session, job)
            learned = bandits.read(session, job.project_id) if arguments["strategy"] == "albl" else None
        chosen = picked(context, live, arguments, barred, learned[1] if learned else None, reporter, watch)
        answer: Json = {
            "label_seq": live.applied_seq,
            "checkpoint": live.checkpoint.name,
            "kernel": states.public_id(live.state_id),
            "candidates": live.posterior.m,
            "timings": watch.stages,
            "notes": [chosen.note] if chosen.note else [],
            "diagnostics": chosen.diagnostics,
        }

        def also(session: Session) -> None:
            if learned is not None and chosen.memory is not None:
                bandits.write(session, job.project_id, learned[0], chosen.memory)

        def window() -> set[int]:
            return {live.positions[k] for k in to_list(live.posterior.candidates)}

        _save(context, job, chosen.picks, answer, watch, window, also)
        live.suggested(context)
        context.insights.scored(live.state_id, arguments["strategy"], live.applied_seq, chosen.all_scores)
    if not live.whole_pool and live.posterior.m < live.candidates_at_first / 2:
        _refill(context, job.project_id, live, jobs.Origin(job.request_id, context.tracing.carrier()))


def _from_pool(context: Context, job: Job) -> None:
    """Random picks need no kernel: draw from the whole pool."""
    watch = Stopwatch(context.on_lap(family_of("random")))
    arguments = job.arguments
    with context.sessions.begin() as session:
        # Read first: labels that arrive in between are then not promised to have been taken into account.
        label_seq = session.get_one(Project, job.project_id).label_seq
        barred = _barred(session, job)
        free = [p for p in pools.unlabeled_positions(session, job.project_id) if p not in barred]
    generator = np.random.default_rng(arguments["seed"])
    drawn = generator.permutation(np.array(free, dtype=np.int64))[: arguments["count"]]
    picks = [Pick(int(position), 1 - rank / len(free), "random") for rank, position in enumerate(drawn)]
    watch.lap("select")
    answer: Json = {
        "label_seq": label_seq,
        "checkpoint": None,
        "kernel": None,
        "candidates": len(free),
        "timings": watch.stages,
    }
    _save(context, job, picks, answer, watch, lambda: set(free))


def _barred(session: Session, job: Job) -> set[int]:
    """Positions that this request must not get: others hold them, its annotator is done with them, or its rules."""
    held = suggestions.held_by_others(session, job.project_id, job.arguments["annotator"])
    return held | _closed(session, job) | _ruled_out(session, job)


def _closed(session: Session, job: Job) -> set[int]:
    """Positions of which this annotator has had their say."""
    rule = opinions.Rule.of(session.get_one(Project, job.project_id).labeling)
    return opinions.closed_to(session, job.project_id, rule, job.arguments["annotator"])


def _ruled_out(session: Session, job: Job) -> set[int]:
    """Positions that the request excludes, or that do not match its filter."""
    out = set(job.arguments["exclude"])
    if job.arguments["filter"] is not None:
        matching = pools.matching_positions(session, job.project_id, job.arguments["filter"])
        out |= set(pools.unlabeled_positions(session, job.project_id)) - matching
    return out


def _save(
    context: Context,
    job: Job,
    picks: list[Pick],
    answer: Json,
    watch: Stopwatch,
    window: Callable[[], set[int]],
    also: Callable[[Session], None] = lambda _: None,
) -> None:
    """Store suggestions and leases, what `also` writes, and the end of the job: all or nothing."""
    arguments = job.arguments
    lease = timedelta(seconds=arguments["lease_seconds"]) if arguments["lease_seconds"] else None
    with context.sessions.begin() as session:
        if lease is None:
            relax_durability(session)
        else:
            suggestions.lock_leases(session, job.project_id)
            held = suggestions.held_by_others(session, job.project_id, arguments["annotator"])
            if any(pick.position in held for pick in picks):
                raise LeasedMeanwhileError
        also(session)
        project = session.get_one(Project, job.project_id)
        mentioned = {pick.position for pick in picks} | {p for pick in picks for p, _ in pick.why}
        names = pools.external_ids(session, job.project_id, list(mentioned))
        reason = arguments.get("reason")
        if len(picks) < arguments["count"]:
            reason = _shortage(session, job, {pick.position for pick in picks}, window())
        details = [_described(pick, names, project.classes) for pick in picks]
        suggestions.record(
            session,
            project_id=job.project_id,
            job_id=job.id,
            strategy=arguments["strategy"],
            annotator=arguments["annotator"],
            lease=lease,
            picks=[(pick.position, pick.score, detail) for pick, detail in zip(picks, details, strict=True)],
        )
        watch.lap("store")
        result = answer | {
            "suggestions": [
                {"item": names[pick.position], "rank": rank, "score": pick.score, **detail}
                for rank, (pick, detail) in enumerate(zip(picks, details, strict=True), start=1)
            ],
            "strategy": arguments["strategy"],
            "options": arguments["options"],
            "seed": arguments["seed"],
            "reason": reason,
        }
        if not jobs.finish(session, job, "succeeded", result=result):
            raise CancelledError


def _described(pick: Pick, names: dict[int, str], classes: list[str]) -> dict[str, Any]:
    return {
        "predicted": None if pick.predicted is None else classes[pick.predicted],
        "confidence": pick.confidence,
        "picked_by": pick.picked_by,
        "why": [{"item": names[position], "change": change} for position, change in pick.why],
    }


def _shortage(session: Session, job: Job, picked: set[int], window: set[int]) -> str:
    """Why there are fewer suggestions than asked for; `window` holds the positions that were compared."""
    unlabeled = set(pools.unlabeled_positions(session, job.project_id))
    if not unlabeled:
        return "pool_exhausted"
    if not unlabeled - picked:
        return "fewer_items_left"
    held = suggestions.held_by_others(session, job.project_id, job.arguments["annotator"])
    allowed = unlabeled - picked - _ruled_out(session, job)
    fitting = allowed - _closed(session, job)
    if allowed and not fitting:
        return "annotator_has_done_the_rest"
    # What could be compared and was free is left only where a quota or a distance forbids it.
    if not fitting or fitting & (window - held):
        return "rules_leave_no_more"
    return "others_hold_the_rest" if fitting & held else "rest_outside_window"


def _refill(context: Context, project_id: int, live: Live, origin: jobs.Origin) -> None:
    """Draw a new window in the background once half of this one's candidates are used up."""
    with context.sessions.begin() as session:
        if jobs.open_of_kind(session, project_id, "prepare"):
            return
        state = session.get_one(KernelState, live.state_id)
        refill = jobs.create(
            session,
            kind="prepare",
            project_id=project_id,
            queue=queue.BULK,
            arguments={"checkpoint_id": state.checkpoint_id, "kernel": state.options},
            origin=origin,
        )
    try:
        queue.enqueue(context.redis, queue.BULK, refill.id)
    except RedisError as error:
        log.warning("job %s will be enqueued by maintenance: %s", refill.id, error)
