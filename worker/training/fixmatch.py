"""Learning from unlabeled items by their pseudo-labels.

Sources: [FIX] Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS
2020: the class a network is sure of on a weakly changed item is the target on the strongly changed one. [REMIX]
Berthelot et al., "ReMixMatch: Semi-Supervised Learning with Distribution Alignment and Augmentation Anchoring", ICLR
2020: pseudo-labels are moved towards the classes of the labeled items.
"""

from collections.abc import Iterator

import torch
from torch.nn import functional

from ntk.kernel import Items
from worker.training.augment import strong, weak
from worker.training.batches import shuffled_items
from worker.training.options import TrainOptions

Tensor = torch.Tensor
_MEMORY = 0.95


class Realignment:
    """Probabilities times (share of a class among the labels / its running mean share among predictions) [REMIX].

    The running mean weighs a batch by 0.95 to the power of its age.
    """

    def __init__(self, target: Tensor) -> None:
        """`target` (C,): the labeled items' class distribution."""
        self._target = target
        self._sum = torch.zeros_like(target)
        self._weight = 0.0

    def __call__(self, p: Tensor) -> Tensor:
        """Realigned probabilities (U, C) of predicted ones (U, C), which join the running mean first."""
        self._sum = _MEMORY * self._sum + (1 - _MEMORY) * p.mean(dim=0)
        self._weight = _MEMORY * self._weight + (1 - _MEMORY)
        tiny = torch.finfo(p.dtype).tiny
        moved = p * (self._target / (self._sum / self._weight).clamp(min=tiny))
        return moved / moved.sum(dim=1, keepdim=True).clamp(min=tiny)


def pseudo_labels(outputs: Tensor, confidence: float, realignment: Realignment | None) -> tuple[Tensor, Tensor]:
    """(class (U,), whether its probability is at least `confidence` (U,)) of outputs (U, C); no graph."""
    p = outputs.detach().softmax(dim=1)
    if realignment is not None:
        p = realignment(p)
    largest, labels = p.max(dim=1)
    return labels, largest >= confidence


def consistency_loss(strong_outputs: Tensor, labels: Tensor, sure: Tensor) -> Tensor:
    """Mean over all U items of the cross-entropy (nats) of outputs (U, C) with labels (U,); zero where not sure."""
    return (functional.cross_entropy(strong_outputs, labels, reduction="none") * sure).mean()


class FixMatch:
    """The unlabeled part of a run: makes the views of a step and the loss of their outputs [FIX]."""

    def __init__(
        self,
        unlabeled: Items,
        options: TrainOptions,
        target: Tensor,
        generator: torch.Generator,
    ) -> None:
        """`target` (C,): the labeled items' class distribution, of the outputs' type and on their device."""
        self._options = options
        self._realignment = Realignment(target) if options.realign else None
        self._generator = generator
        size = options.unlabeled_ratio * options.batch_size
        self._batches: Iterator[Tensor] | None = None
        if len(unlabeled) > 0:
            self._batches = shuffled_items(unlabeled, size, generator)

    @property
    def is_idle(self) -> bool:
        """Whether there are no unlabeled items."""
        return self._batches is None

    def views(self, labeled: Tensor) -> Tensor:
        """(B + 2 U, ...): labeled items (B, ...) weakly changed, then the next U unlabeled items weakly and strongly.

        One batch: batch norm then sees all of them alike. Raises ValueError for items that cannot be augmented.
        """
        parts = [weak(labeled, self._generator)]
        if self._batches is not None:
            items = next(self._batches).to(labeled)
            parts += [weak(items, self._generator), strong(items, self._generator)]
        return torch.cat(parts)

    def loss(self, outputs: Tensor) -> Tensor:
        """The weighted consistency loss of the unlabeled views' outputs (2 U, C)."""
        if len(outputs) == 0:
            return outputs.sum()
        on_weak, on_strong = outputs.chunk(2)
        labels, sure = pseudo_labels(on_weak, self._options.confidence, self._realignment)
        return self._options.unlabeled_weight * consistency_loss(on_strong, labels, sure)
