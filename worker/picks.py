"""From a warm state and a request to picks with their predictions and reasons."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ntk.acquisition.lookahead.influence import influence
from ntk.acquisition.uncertainty import nearest_probabilities
from store.tables import Json
from worker.context import Context
from worker.errors import JobError
from worker.gram import to_list
from worker.live import Live
from worker.progress import Reporter
from worker.strategies.choose import Rules, choose

GREEDY_MAX = 500


class Stopwatch:
    """Milliseconds by stage."""

    def __init__(self, on_lap: Callable[[str, float], None] = lambda stage, seconds: None) -> None:
        """`on_lap` is told each stage and the seconds it took."""
        self.stages: dict[str, float] = {}
        self._on_lap = on_lap
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to `stage`."""
        now = time.perf_counter()
        self.stages[stage] = round(self.stages.get(stage, 0.0) + 1000 * (now - self._last), 3)
        self._on_lap(stage, now - self._last)
        self._last = now


@dataclass(frozen=True)
class Pick:
    """One suggestion, by pool position."""

    position: int
    score: float
    picked_by: str
    predicted: int | None = None
    confidence: float | None = None
    why: Sequence[tuple[int, float]] = ()


@dataclass(frozen=True)
class Picked:
    """A batch with what the strategy says of it."""

    picks: list[Pick]
    note: str | None = None
    diagnostics: Json | None = None
    memory: Json | None = None
    all_scores: torch.Tensor | None = None  # (m,) of every candidate, where the strategy has them


def picked(
    context: Context,
    live: Live,
    arguments: Json,
    barred: set[int],
    memory: Json | None,
    reporter: Reporter,
    watch: Stopwatch,
) -> Picked:
    """The strategy's picks among the candidates that are not barred. Raises JobError, NTKError."""
    posterior = live.posterior
    device = posterior.candidates.device
    at = [live.positions[k] for k in to_list(posterior.candidates)]
    eligible = torch.tensor([position not in barred for position in at], dtype=torch.bool, device=device)
    count = min(int(arguments["count"]), int(eligible.sum()))
    if count == 0:
        return Picked([], diagnostics={})
    if arguments["options"].get("batch") == "greedy" and count > GREEDY_MAX:
        raise JobError(
            "batch_too_large",
            f"a greedy batch takes one pass per pick and holds at most {GREEDY_MAX}: ask for fewer, or for the option "
            '"batch": "top_k"',
        )
    if count > 1:
        reporter.stage("picking", count, "picks")
    choice = choose(
        live.window(context),
        arguments["strategy"],
        arguments["options"],
        count=count,
        seed=int(arguments["seed"]),
        eligible=eligible,
        rules=_rules(arguments),
        memory=memory,
        memory_bytes=context.kernel_bytes,
        on_pick=reporter.advance,
        check=reporter.check,
    )
    chosen, scores = choice.picks.indices, choice.picks.scores
    watch.lap("score")
    confidence, predicted = nearest_probabilities(posterior.candidate_outputs[chosen]).max(dim=1)
    why = _why(live, chosen, int(arguments["options"]["why"]), at)
    watch.lap("why")
    if not all(math.isfinite(number) for number in (*to_list(scores), *(change for row in why for _, change in row))):
        raise JobError("numerical_failure", "a score is past the range of numbers: are the network's outputs sensible?")
    by = [arguments["strategy"]] * (len(chosen) - choice.drawn) + ["random"] * choice.drawn
    picks = [
        Pick(at[pick], score, name, best, sure, reasons)
        for pick, score, name, best, sure, reasons in zip(
            to_list(chosen), to_list(scores), by, to_list(predicted), to_list(confidence), why, strict=True
        )
    ]
    found = choice.picks
    return Picked(picks, found.note, found.diagnostics, found.memory, found.all_scores)


def _rules(arguments: Json) -> Rules:
    per_class = arguments["per_class"]
    if isinstance(per_class, dict):
        per_class = {int(index): most for index, most in per_class.items()}
    return Rules(per_class, arguments["min_distance"], arguments["random_share"])


def _why(live: Live, chosen: torch.Tensor, count: int, at: list[int]) -> list[list[tuple[int, float]]]:
    """Per pick, the items whose outputs would change most if it got its predicted label."""
    posterior = live.posterior
    count = min(count, posterior.m - 1)
    if count < 1 or len(chosen) == 0:
        return [[] for _ in range(len(chosen))]
    outputs = posterior.candidate_outputs
    residual = outputs.clone()
    residual[torch.arange(posterior.m), outputs.argmax(dim=1)] -= 1
    items, changes = influence(posterior.covariance, posterior.variance, residual.norm(dim=1), chosen, count)
    return [
        [(at[item], change) for item, change in zip(row, sizes, strict=True)]
        for row, sizes in zip(to_list(items), to_list(changes), strict=True)
    ]
