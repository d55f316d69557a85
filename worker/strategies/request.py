"""What a strategy is asked, and what it answers."""

from dataclasses import dataclass, field

import torch

from ntk.kernel import Tick, nothing
from ntk.selection import Allowed
from store.tables import Json

Tensor = torch.Tensor


@dataclass(frozen=True)
class Request:
    """How many of the allowed candidates, under which options."""

    count: int
    options: Json
    allowed: Allowed  # over the m candidates, in the posterior's order; taken from as picks are made
    seed: int
    on_pick: Tick = nothing  # counts progress; raises to cancel
    check: Tick = nothing  # raises to cancel
    memory: Json | None = None  # what a strategy that learns remembers

    def generator(self) -> torch.Generator:
        """Random numbers of this request."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Picks:
    """Candidates, best first."""

    indices: Tensor  # (q,) into the m candidates
    scores: Tensor  # (q,) float64
    note: str | None = None  # what the caller should know about how it was decided
    diagnostics: Json = field(default_factory=dict)
    memory: Json | None = None
    all_scores: Tensor | None = None  # (m,) where the strategy scores each candidate: for the first pick


def best(scores: Tensor, request: Request) -> Picks:
    """The best by (m,) scores."""
    chosen = request.allowed.top(scores, request.count)
    return Picks(chosen, scores[chosen], all_scores=scores)
