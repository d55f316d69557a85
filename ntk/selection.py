"""Selections: from scores to indices, deterministic under ties."""

import torch

from ntk.errors import NonFiniteError

Tensor = torch.Tensor


def top_k(scores: Tensor, count: int, tie_break: Tensor) -> Tensor:
    """Indices (count,) of the largest of (m,) scores, best first; ties go to the smaller `tie_break` (m,).

    Raises NonFiniteError when a score is NaN.
    """
    if torch.isnan(scores).any():
        raise NonFiniteError("a score is not a number")
    by_tie = torch.argsort(tie_break, stable=True)
    order = torch.argsort(scores[by_tie], descending=True, stable=True)
    return by_tie[order[:count]]


def random_choice(size: int, count: int, generator: torch.Generator, tie_break: Tensor) -> Tensor:
    """Indices (count,) drawn uniformly without replacement, whatever order the candidates are kept in."""
    by_tie = torch.argsort(tie_break, stable=True)
    return by_tie[torch.randperm(size, generator=generator)[:count].to(by_tie.device)]
