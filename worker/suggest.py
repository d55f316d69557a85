"""Suggest: catch up with the labels, score, pick, store the suggestions with their leases, answer."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from redis.exceptions import RedisError

from ntk.acquisition.lookahead import influence
from ntk.acquisition.uncertainty import nearest_probabilities
from store import jobs, pools, states, suggestions
from store.database import relax_durability
from store.errors import LeasedMeanwhileError
from store.states import Advance
from store.tables import Job, Json, KernelState, Project
from worker import queue
from worker.catch_up import retried, synchronised
from worker.context import Context
from worker.errors import CancelledError, JobError
from worker.gram import to_list
from worker.live import Live
from worker.progress import Reporter
from worker.strategies import STRATEGIES, Request

log = logging.getLogger(__name__)

GREEDY_MAX = 500


class Stopwatch:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to `stage`."""
        now = time.perf_counter()
        self.stages[stage] = round(self.stages.get(stage, 0.0) + 1000 * (now - self._last), 3)
        self._last = now


@dataclass(frozen=True)
class _Pick:
    position: int
    score: float
    predicted: int | None
    confidence: float | None
    why: Sequence[tuple[int, float]]


def suggest(context: Context, job: Job, reporter: Reporter) -> Json | None:
    """Run the job; suggestions, leases, factor rows and the answer are written in one transaction."""
    with context.sessions.begin() as session:
        prepared = session.get_one(Project, job.project_id).active_state_id is not None
    attempt = _from_model if prepared else _from_pool
    return retried(lambda: attempt(context, job))


def _from_model(context: Context, job: Job) -> None:
    watch = Stopwatch()
    arguments = job.arguments
    with synchronised(context, job.project_id) as (live, change):
        watch.lap("catch_up")
        with context.sessions.begin() as session:
            held = suggestions.held_by_others(session, job.project_id, arguments["annotator"])
        picks = _choose(live, arguments, held, watch)
        answer: Json = {
            "label_seq": live.applied_seq,
            "checkpoint": live.checkpoint,
            "kernel": states.public_id(live.state_id),
            "candidates": live.posterior.m,
            "timings": watch.stages,
        }
        _save(context, job, picks, answer, watch, live=live, change=change)
    if not live.whole_pool and live.posterior.m < live.candidates_at_first / 2:
        _refill(context, job.project_id, live)


def _from_pool(context: Context, job: Job) -> None:
    """Random picks need no kernel: draw from the whole pool."""
    watch = Stopwatch()
    arguments = job.arguments
    with context.sessions.begin() as session:
        held = suggestions.held_by_others(session, job.project_id, arguments["annotator"])
        free = [p for p in pools.unlabeled_positions(session, job.project_id) if p not in held]
        label_seq = session.get_one(Project, job.project_id).label_seq
    generator = np.random.default_rng(arguments["seed"])
    drawn = generator.permutation(np.array(free, dtype=np.int64))[: arguments["count"]]
    picks = [_Pick(int(position), 1 - rank / len(free), None, None, []) for rank, position in enumerate(drawn)]
    watch.lap("select")
    answer: Json = {
        "label_seq": label_seq,
        "checkpoint": None,
        "kernel": None,
        "candidates": len(free),
        "timings": watch.stages,
    }
    _save(context, job, picks, answer, watch, live=None, change=None)


def _choose(live: Live, arguments: Json, held: set[int], watch: Stopwatch) -> list[_Pick]:
    posterior = live.posterior
    device = posterior.candidates.device
    at = [live.positions[k] for k in to_list(posterior.candidates)]
    eligible = torch.tensor([position not in held for position in at], dtype=torch.bool, device=device)
    count = min(int(arguments["count"]), int(eligible.sum()))
    if count == 0:
        return []
    if arguments["options"].get("batch") == "greedy" and count > GREEDY_MAX:
        raise JobError(
            "batch_too_large",
            f"a greedy batch takes one pass per pick and holds at most {GREEDY_MAX}: ask for fewer, or for the option "
            '"batch": "top_k"',
        )
    request = Request(
        count=count,
        options=arguments["options"],
        eligible=eligible,
        tie_break=torch.tensor(at, dtype=torch.long, device=device),
        reference_outputs=live.outputs[posterior.candidates],
        seed=int(arguments["seed"]),
    )
    chosen, scores = STRATEGIES[arguments["strategy"]](posterior, request)
    watch.lap("score")
    outputs = posterior.candidate_outputs
    confidence, predicted = nearest_probabilities(outputs[chosen]).max(dim=1)
    why = _why(live, chosen, int(arguments["options"]["why"]), at)
    watch.lap("why")
    if not all(math.isfinite(number) for number in (*to_list(scores), *(change for row in why for _, change in row))):
        raise JobError("numerical_failure", "a score is past the range of numbers: are the network's outputs sensible?")
    return [
        _Pick(at[pick], score, best, sure, reasons)
        for pick, score, best, sure, reasons in zip(
            to_list(chosen), to_list(scores), to_list(predicted), to_list(confidence), why, strict=True
        )
    ]


def _why(live: Live, chosen: torch.Tensor, count: int, at: list[int]) -> list[list[tuple[int, float]]]:
    """Per pick, the items whose outputs would change most if it got its predicted label."""
    posterior = live.posterior
    count = min(count, posterior.m - 1)
    if count < 1:
        return [[] for _ in range(len(chosen))]
    outputs = posterior.candidate_outputs
    residual = outputs.clone()
    residual[torch.arange(posterior.m), outputs.argmax(dim=1)] -= 1
    items, changes = influence(posterior.covariance, posterior.variance, residual.norm(dim=1), chosen, count)
    return [
        [(at[item], change) for item, change in zip(row, sizes, strict=True)]
        for row, sizes in zip(to_list(items), to_list(changes), strict=True)
    ]


def _save(
    context: Context,
    job: Job,
    picks: list[_Pick],
    answer: Json,
    watch: Stopwatch,
    *,
    live: Live | None,
    change: Advance | None,
) -> None:
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
        if live is not None and change is not None:
            states.advance(session, live.state_id, change)
        project = session.get_one(Project, job.project_id)
        mentioned = {pick.position for pick in picks} | {p for pick in picks for p, _ in pick.why}
        names = pools.external_ids(session, job.project_id, list(mentioned))
        reason = arguments.get("reason")
        if len(picks) < arguments["count"]:
            held = suggestions.held_by_others(session, job.project_id, arguments["annotator"])
            reason = _shortage(pools.unlabeled_positions(session, job.project_id), held, picks)
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


def _described(pick: _Pick, names: dict[int, str], classes: list[str]) -> dict[str, Any]:
    return {
        "predicted": None if pick.predicted is None else classes[pick.predicted],
        "confidence": pick.confidence,
        "why": [{"item": names[position], "change": change} for position, change in pick.why],
    }


def _shortage(unlabeled: list[int], held: set[int], picks: list[_Pick]) -> str:
    """Why there are fewer suggestions than asked for."""
    if not unlabeled:
        return "pool_exhausted"
    if len(picks) == len(unlabeled):
        return "fewer_items_left"
    return "others_hold_the_rest" if held.intersection(unlabeled) else "rest_outside_window"


def _refill(context: Context, project_id: int, live: Live) -> None:
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
        )
    try:
        queue.enqueue(context.redis, queue.BULK, refill.id)
    except RedisError as error:
        log.warning("job %s will be enqueued by maintenance: %s", refill.id, error)
