"""Strategies that look at outputs only, and the yardstick that looks at nothing."""

from collections.abc import Callable

import torch

from ntk.acquisition import uncertainty
from worker.strategies.request import Picks, Request, best
from worker.strategies.window import Window

Tensor = torch.Tensor


def by_outputs(score: Callable[[Tensor], Tensor]) -> Callable[[Window, Request], Picks]:
    """A strategy from a score of linearized outputs (m, C)."""

    def pick(window: Window, request: Request) -> Picks:
        outputs = window.posterior.candidate_outputs
        return best(score(outputs / window.temperature(request.options["probabilities"])), request)

    return pick


def margin(window: Window, request: Request) -> Picks:
    """The smallest gap between the two largest outputs."""
    return best(uncertainty.margin(window.posterior.candidate_outputs), request)


entropy = by_outputs(uncertainty.entropy)
least_confidence = by_outputs(uncertainty.least_confidence)


def random(window: Window, request: Request) -> Picks:
    """Uniform without replacement; the score is the share of candidates drawn later."""
    size = request.allowed.count()
    chosen = request.allowed.draw(request.count, request.generator())
    return Picks(chosen, 1 - torch.arange(len(chosen), dtype=torch.float64, device=chosen.device) / max(size, 1))
