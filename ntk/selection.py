"""Selections: from scores to indices, deterministic under ties, within what is allowed."""

from collections.abc import Callable

import torch

from ntk.errors import NonFiniteError

Tensor = torch.Tensor


class Allowed:
    """Which of m candidates may still be picked. A pick takes away itself and whatever a rule ties to it.

    Rules: at most so many picks per predicted class, and none near a pick. Ties between scores go to the candidate
    with the smaller key, so that picks do not depend on the order in which candidates are kept.
    """

    def __init__(
        self,
        mask: Tensor,  # (m,) bool
        keys: Tensor,  # (m,) long, distinct
        *,
        classes: Tensor | None = None,  # (m,) predicted
        quota: Tensor | None = None,  # (C,) picks left per class
        near: Callable[[int], Tensor] | None = None,  # index -> (m,) bool, candidates too near it
    ) -> None:
        self.mask = mask.clone()
        self.keys = keys
        self._classes = classes
        self._quota = None if quota is None else quota.clone()
        self._near = near
        if self._quota is not None:
            assert classes is not None
            self.mask &= self._quota[classes] > 0

    def fork(self) -> "Allowed":
        """A copy, to try picks on."""
        return Allowed(self.mask, self.keys, classes=self._classes, quota=self._quota, near=self._near)

    def only(self, mask: Tensor) -> "Allowed":
        """A copy with these candidates only."""
        return Allowed(self.mask & mask, self.keys, classes=self._classes, quota=self._quota, near=self._near)

    @property
    def ruled(self) -> bool:
        """Whether a pick can take more than itself away."""
        return self._quota is not None or self._near is not None

    def any(self) -> bool:
        """Whether anything may be picked."""
        return bool(self.mask.any())

    def count(self) -> int:
        """How many may be picked now."""
        return int(self.mask.sum())

    def indices(self) -> Tensor:
        """What may be picked, in the order of the keys: the same whatever order the candidates are kept in."""
        found = self.mask.nonzero()[:, 0]
        return found[torch.argsort(self.keys[found])]

    def take(self, index: int) -> Tensor:
        """Pick a candidate; returns the mask (m,) of what is left."""
        self.mask[index] = False
        if self._quota is not None:
            assert self._classes is not None
            own = self._classes[index]
            self._quota[own] -= 1
            if int(self._quota[own]) <= 0:
                self.mask &= self._classes != own
        if self._near is not None:
            self.mask &= ~self._near(index)
        return self.mask

    def best(self, scores: Tensor) -> int:
        """The allowed candidate with the largest of (m,) scores. Raises NonFiniteError when a score is NaN."""
        check_numbers(scores)
        masked = torch.where(self.mask, scores, -torch.inf)
        # A score of −∞ is still a score: look for ties among the allowed only.
        ties = ((masked == masked.max()) & self.mask).nonzero()[:, 0]
        return int(ties[self.keys[ties].argmin()])

    def top(self, scores: Tensor, count: int) -> Tensor:
        """The best `count` by (m,) scores, best first, (≤ count,). Raises NonFiniteError when a score is NaN."""
        check_numbers(scores)
        found = self.indices()
        return self.walk(found[torch.argsort(scores[found], descending=True, stable=True)], count)

    def walk(self, order: Tensor, count: int) -> Tensor:
        """The first `count` along an order that are still allowed when their turn comes."""
        if self._quota is None and self._near is None:
            order = order[self.mask[order]][:count]
            self.mask[order] = False
            return order
        picked: list[int] = []
        for index in order.tolist():
            if len(picked) == count:
                break
            if bool(self.mask[index]):
                picked.append(index)
                self.take(index)
        return torch.tensor(picked, dtype=torch.long, device=self.mask.device)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` at random without replacement, (≤ count,)."""
        found = self.indices()
        order = found[torch.randperm(len(found), generator=generator).to(found.device)]
        return self.walk(order, count)


def check_numbers(scores: Tensor) -> None:
    """Raise NonFiniteError when a score is NaN."""
    if bool(torch.isnan(scores).any()):
        raise NonFiniteError("a score is not a number")
