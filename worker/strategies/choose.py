"""Every strategy by name, and what all of them share: rules, the random share, and the refusal of what does not fit."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from ntk.distances import kernel_squared_distances
from ntk.kernel import Tick, nothing
from ntk.posterior import Posterior
from ntk.selection import Allowed
from store.costs import evaluate, names
from store.strategies import STRATEGIES as DESCRIBED
from store.strategies import TILE_BYTES
from store.tables import Json
from worker.budget import plain
from worker.errors import JobError
from worker.strategies import diversity, kernels, learned, lookahead, uncertainty
from worker.strategies.bandit import albl
from worker.strategies.request import Picks, Request
from worker.strategies.window import Window

Tensor = torch.Tensor

STRATEGIES: dict[str, Callable[[Window, Request], Picks]] = {
    "mlmoc": partial(lookahead.look_ahead, family="mlmoc"),
    "emoc": partial(lookahead.look_ahead, family="emoc"),
    "eer": partial(lookahead.look_ahead, family="eer"),
    "one_step": lookahead.one_gradient_step,
    "infinite_ntk": lookahead.infinite_ntk,
    "gp": lookahead.gaussian_process,
    "npc": kernels.npc,
    "dynamical": learned.dynamical,
    "ntkcpl": kernels.ntkcpl,
    "random": uncertainty.random,
    "entropy": uncertainty.entropy,
    "margin": uncertainty.margin,
    "least_confidence": uncertainty.least_confidence,
    "coreset": diversity.coreset,
    "badge": diversity.badge,
    "albl": albl,
    "typiclust": diversity.typiclust,
    "bald": learned.bald,
    "egl": learned.egl,
    "ll4al": learned.ll4al,
}


def family_of(strategy: str) -> str:
    """Which family a strategy belongs to: the module that has it."""
    function = STRATEGIES[strategy]
    return str(getattr(function, "func", function).__module__).rpartition(".")[2]


# Features of strategies that leave no choice, where they are not the last layer's input.
_FEATURES = {"infinite_ntk": "inputs"}


@dataclass(frozen=True)
class Rules:
    """What no strategy may pick past, whatever its scores."""

    per_class: int | dict[int, int] | None = None  # at most so many picks per predicted class
    min_distance: float | None = None  # in units of the root mean kernel diagonal
    random_share: float = 0.0


@dataclass(frozen=True)
class Choice:
    """A batch: the strategy's picks, then those drawn at random."""

    picks: Picks
    drawn: int = 0  # how many at the end were drawn at random


def choose(
    window: Window,
    strategy: str,
    options: Json,
    *,
    count: int,
    seed: int,
    eligible: Tensor,  # (m,) bool, in the posterior's candidate order
    rules: Rules | None = None,
    memory: Json | None = None,
    memory_bytes: int | None = None,
    on_pick: Tick = nothing,
    check: Tick = nothing,
) -> Choice:
    """Picks of a strategy within the rules. Raises JobError `too_large` before anything is computed, NTKError.

    `on_pick` is called once for every pick, `check` now and then; what they raise is passed on.
    """
    rules = rules or Rules()
    if memory_bytes is not None:
        fits(window, strategy, options, count, memory_bytes)
    allowed = allowed_by(window.posterior, window.keys, eligible, rules)
    generator = torch.Generator().manual_seed(seed)
    drawn = _share(count, rules.random_share, generator)
    reported = 0

    def one_more() -> None:
        nonlocal reported
        reported += 1
        on_pick()

    check()
    request = Request(count - drawn, options, allowed, seed, one_more, check, memory)
    if request.count and allowed.any():
        picks = STRATEGIES[strategy](window, request)
    else:
        nobody = torch.zeros(0, dtype=torch.long, device=eligible.device)
        picks = Picks(nobody, nobody.double(), memory=memory)
    # Some strategies decide the whole batch at once.
    for _ in range(len(picks.indices) - reported):
        on_pick()
    if not drawn:
        return Choice(picks)
    others = uncertainty.random(window, replace(request, count=drawn))
    for _ in range(len(others.indices)):
        on_pick()
    both = Picks(
        torch.cat([picks.indices, others.indices]),
        torch.cat([picks.scores, others.scores]),
        picks.note,
        picks.diagnostics,
        picks.memory,
        picks.all_scores,
    )
    return Choice(both, len(others.indices))


def allowed_by(posterior: Posterior, keys: Tensor, eligible: Tensor, rules: Rules) -> Allowed:
    """The eligible candidates under the rules."""
    mask, near = eligible, None
    if rules.min_distance is not None:
        radius = rules.min_distance**2 * float(posterior.gram.diagonal().double().mean())
        distances = kernel_squared_distances(posterior.gram, posterior.candidates)

        def near_to(index: int) -> Tensor:
            return distances(index) < radius

        near = near_to
        mask = mask & (_to_labeled(posterior) >= radius)
    quota = None
    if rules.per_class is not None:
        quota = torch.full((posterior.classes,), torch.iinfo(torch.long).max, dtype=torch.long, device=keys.device)
        if isinstance(rules.per_class, int):
            quota[:] = rules.per_class
        else:
            for index, most in rules.per_class.items():
                quota[index] = most
    return Allowed(mask, keys, classes=posterior.candidate_outputs.argmax(dim=1), quota=quota, near=near)


def _to_labeled(posterior: Posterior) -> Tensor:
    """Squared kernel distance of each candidate to the nearest labeled item, (m,); infinite without labels."""
    distances = kernel_squared_distances(posterior.gram, torch.cat([posterior.labeled, posterior.candidates]))
    nearest = torch.full((posterior.m,), torch.inf, dtype=torch.float64, device=posterior.gram.device)
    for k in range(posterior.n):
        nearest = torch.minimum(nearest, distances(k)[posterior.n :])
    return nearest


def _share(count: int, share: float, generator: torch.Generator) -> int:
    """How many of `count` are drawn at random: the share, its fraction of a pick decided by chance."""
    whole = int(count * share)
    chance = float(torch.rand((), dtype=torch.float64, generator=generator))
    return min(count, whole + (chance < count * share - whole))


def fits(window: Window, strategy: str, options: Json, count: int, memory_bytes: int) -> None:
    """Raise JobError `too_large`, with the numbers that would do, where the strategy's memory formula exceeds this."""
    formula = DESCRIBED[strategy].memory
    values = _sizes(window, strategy, formula, options, count)
    needed = evaluate(formula, values)
    if needed <= memory_bytes:
        return

    def at(candidates: int) -> float:
        # The labeled items are in every window.
        sizes = {"m": candidates, "N": values["n"] + candidates, "b": min(values["b"], candidates)}
        return evaluate(formula, values | sizes)

    would = bisect_right(range(1, int(values["m"]) + 1), float(memory_bytes), key=at)
    hint = f"a window of {would} candidates would fit" if would else "no window of this project would fit"
    raise JobError(
        "too_large",
        f"{strategy} would hold {plain(needed)} for a window of {int(values['m'])} candidates, and the worker allows "
        f"{plain(memory_bytes)}: {hint}; or raise LOOKAHEAD_KERNEL_BYTES",
    )


def _sizes(window: Window, strategy: str, formula: str, options: Json, count: int) -> dict[str, float]:
    posterior = window.posterior
    values: dict[str, Any] = {
        "N": posterior.size,
        "n": posterior.n,
        "m": posterior.m,
        "C": posterior.classes,
        "b": count,
        "k": options.get("max_clusters", 1),
        "s": options.get("num_subsets", options.get("samples", 1)),
        "tile": TILE_BYTES,
    }
    wanted = names(formula)
    if "P" in wanted:
        values["P"] = window.parameters
    if "D" in wanted:
        values["D"] = _width(window, options.get("features", _FEATURES.get(strategy, "penultimate")))
    return {name: float(value) for name, value in values.items()}


def _width(window: Window, kind: str) -> int:
    """Numbers per item of these features."""
    if kind == "penultimate" or (kind != "inputs" and not window.vectors):
        last = [layer.shape[-1] for layer in window.module.parameters() if layer.ndim == 2][-1:]
        if last:
            return int(last[0])
    return window.items([0])[0:1].numel()
