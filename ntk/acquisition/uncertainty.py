"""Uncertainty of linearized outputs (m, C); larger scores are more uncertain."""

import torch

Tensor = torch.Tensor


def probabilities(outputs: Tensor) -> Tensor:
    """Softmax of the outputs, (m, C)."""
    return outputs.softmax(dim=1)


def nearest_probabilities(outputs: Tensor) -> Tensor:
    """The probability vectors nearest to the outputs (m, C), row by row: their Euclidean projection on the simplex.

    Outputs fitted to one-hot targets are read as probabilities this way: (1, 0, 0) stays itself, where softmax
    would make 0.58 of its 1. For reporting; scores rank by softmax, which has no ties at certainty.
    """
    # The projection does not change with a common shift; with the largest at 0, large outputs lose no digits.
    outputs = outputs - outputs.amax(dim=1, keepdim=True)
    ordered, _ = outputs.sort(dim=1, descending=True)
    excess = ordered.cumsum(dim=1) - 1
    counts = torch.arange(1, outputs.shape[1] + 1, dtype=outputs.dtype, device=outputs.device)
    support = (ordered * counts > excess).sum(dim=1, keepdim=True)
    threshold = excess.gather(1, support - 1) / support
    return (outputs - threshold).clamp(min=0)


def entropy(outputs: Tensor) -> Tensor:
    """Entropy of the softmax in nats, (m,)."""
    log = outputs.log_softmax(dim=1)
    return -(log.exp() * log).sum(dim=1)


def margin(outputs: Tensor) -> Tensor:
    """Minus the gap between the two largest outputs, (m,)."""
    best = outputs.topk(2, dim=1).values
    return best[:, 1] - best[:, 0]


def least_confidence(outputs: Tensor) -> Tensor:
    """One minus the largest probability, (m,)."""
    return 1 - probabilities(outputs).amax(dim=1)
