"""Batches by look-ahead: each pick is conditioned on the ones before it with their pseudo-labels."""

from collections.abc import Callable

import torch

from ntk.acquisition.lookahead.model import LookAhead
from ntk.kernel import Tick, nothing
from ntk.selection import Allowed

Tensor = torch.Tensor
Score = Callable[[LookAhead], Tensor]


def greedy(
    look: LookAhead, score: Score, allowed: Allowed, count: int, on_pick: Tick = nothing
) -> tuple[Tensor, Tensor]:
    """(indices, scores) of a batch, at most `count`; one pass over the covariance per pick, which is not changed.

    `score` gives (m,) for a conditioned model. Raises NonFiniteError when a score is NaN.
    """
    chosen: list[int] = []
    scores: list[float] = []
    while len(chosen) < count and allowed.any():
        values = score(look)
        pick = allowed.best(values)
        chosen.append(pick)
        scores.append(float(values[pick]))
        allowed.take(pick)
        if len(chosen) < count:
            look = look.labeled(pick)
        on_pick()
    device = look.outputs.device
    return (
        torch.tensor(chosen, dtype=torch.long, device=device),
        torch.tensor(scores, dtype=torch.float64, device=device),
    )
