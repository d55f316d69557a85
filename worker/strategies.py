"""Strategies: kernel -> score -> selection, by name, over the live posterior."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ntk.acquisition import lookahead, uncertainty
from ntk.posterior import Posterior
from ntk.selection import random_choice, top_k
from store.tables import Json

Tensor = torch.Tensor


@dataclass(frozen=True)
class Request:
    """What a strategy is asked: how many of the eligible candidates, under which options."""

    count: int
    options: Json
    eligible: Tensor  # (m,) bool, in the posterior's candidate order
    tie_break: Tensor  # (m,) long: equal scores go to the smaller one
    reference_outputs: Tensor  # (m, C) the checkpoint's own outputs
    seed: int


Picks = tuple[Tensor, Tensor]
"""(candidate indices (count,), their scores (count,)), best first."""


def _best(scores: Tensor, request: Request) -> Picks:
    eligible = request.eligible.nonzero().squeeze(1)
    chosen = eligible[top_k(scores[eligible], request.count, request.tie_break[eligible])]
    return chosen, scores[chosen]


def mlmoc(posterior: Posterior, request: Request) -> Picks:
    """Most likely model output change, all candidates in closed form [LA eq. 13]."""
    reference = request.reference_outputs if request.options["reference"] == "network" else None
    if request.options["batch"] == "greedy" and request.count > 1:
        return lookahead.greedy_mlmoc(
            posterior.covariance,
            posterior.variance,
            posterior.candidate_outputs,
            reference,
            posterior.column_l1,
            count=request.count,
            tie_break=request.tie_break,
            eligible=request.eligible,
        )
    scores = lookahead.mlmoc(
        posterior.covariance,
        posterior.variance,
        posterior.candidate_outputs,
        reference,
        posterior.column_l1,
    )
    return _best(scores, request)


def _uncertainty(score: Callable[[Tensor], Tensor]) -> Callable[[Posterior, Request], Picks]:
    def pick(posterior: Posterior, request: Request) -> Picks:
        return _best(score(posterior.candidate_outputs), request)

    return pick


def random(posterior: Posterior, request: Request) -> Picks:
    """Uniform without replacement; the score is the share of candidates drawn later."""
    generator = torch.Generator().manual_seed(request.seed)
    eligible = request.eligible.nonzero().squeeze(1)
    chosen = eligible[random_choice(len(eligible), request.count, generator, request.tie_break[eligible])]
    scores = 1 - torch.arange(len(chosen), dtype=torch.float64, device=chosen.device) / len(eligible)
    return chosen, scores


STRATEGIES: dict[str, Callable[[Posterior, Request], Picks]] = {
    "mlmoc": mlmoc,
    "random": random,
    "entropy": _uncertainty(uncertainty.entropy),
    "margin": _uncertainty(uncertainty.margin),
    "least_confidence": _uncertainty(uncertainty.least_confidence),
}
