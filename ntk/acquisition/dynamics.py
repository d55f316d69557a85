"""dynamicAL: the candidates that would speed training up most.

Source: [DYN] "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022, equations 12 to 15. With g the
gradient of the cross-entropy at the pseudo-label and g_S the sum of the labeled items' gradients, the training dynamics
G(S) = ‖g_S‖² grow by Δ(x) = ‖g_x‖² + 2 g_x·g_S when x joins.
"""

from dataclasses import dataclass

import torch

from ntk.gradients import Gradients
from ntk.kernel import Items, Tick, nothing
from ntk.selection import Allowed

Tensor = torch.Tensor


def loss_weights(outputs: Tensor, labels: Tensor) -> Tensor:
    """Derivative of the cross-entropy with respect to outputs (N, C) at labels (N,): softmax − one-hot, (N, C)."""
    one_hot = torch.nn.functional.one_hot(labels, outputs.shape[1]).to(outputs)
    return outputs.softmax(dim=1) - one_hot


@dataclass(frozen=True)
class Dynamics:
    """What the picks do to the training dynamics."""

    indices: Tensor  # (q,)
    scores: Tensor  # (q,) Δ of each pick when it was made
    before: float  # G(S)
    after: float  # G(S ∪ Q)
    approximation_ratio: float | None  # Σ_q Δ({q}) / (G(S ∪ Q) − G(S)) [DYN eq. 14]; None for an empty batch


def dynamical(
    gradients: Gradients,
    candidates: Items,  # (m, ...)
    candidate_weights: Tensor,  # (m, C) of their pseudo-labels
    labeled: Items,  # (n, ...)
    labeled_weights: Tensor,  # (n, C)
    *,
    allowed: Allowed,
    count: int,
    gamma: float = 1.0,
    greedy: bool = True,
    on_batch: Tick = nothing,
    on_pick: Tick = nothing,
) -> Dynamics:
    """The candidates with the largest ‖g_x‖² + 2γ g_x·g_S, one pass over the pool and no Gram matrix.

    `greedy` adds each pick's gradient to g_S before the next one [DYN eq. 13]: one more pass per pick. `gamma` weighs
    what candidates share with the labeled items; 1 is the source's. Raises NonFiniteError when a score is NaN.
    """
    direction = gradients.total(labeled, labeled_weights, on_batch)
    before = _squared_norm(direction)
    own = gradients.squared_norms(candidates, candidate_weights, on_batch)
    first = gradients.along(candidates, candidate_weights, direction, on_batch)
    shared = first
    if not greedy:
        indices = allowed.top(own + 2 * gamma * shared, count)
        scores = (own + 2 * gamma * shared)[indices]
    else:
        chosen: list[int] = []
        values: list[float] = []
        while len(chosen) < count and allowed.any():
            score = own + 2 * gamma * shared
            pick = allowed.best(score)
            chosen.append(pick)
            values.append(float(score[pick]))
            allowed.take(pick)
            if len(chosen) < count:
                one = gradients.total(candidates[pick : pick + 1], candidate_weights[pick : pick + 1])
                shared = shared + gradients.along(candidates, candidate_weights, one, on_batch)
            on_pick()
        indices = torch.tensor(chosen, dtype=torch.long, device=own.device)
        scores = torch.tensor(values, dtype=torch.float64, device=own.device)
    after = before
    ratio = None
    if len(indices):
        for index in indices.tolist():
            one = gradients.total(candidates[index : index + 1], candidate_weights[index : index + 1])
            direction = {name: total + one[name] for name, total in direction.items()}
        after = _squared_norm(direction)
        alone = float((own + 2 * first)[indices].sum())
        ratio = alone / (after - before) if after != before else None
    return Dynamics(indices, scores, before, after, ratio)


def _squared_norm(direction: dict[str, Tensor]) -> float:
    return float(sum(part.double().square().sum() for part in direction.values()))
