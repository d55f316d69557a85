"""Uncertainty of linearized outputs (m, C); larger scores are more uncertain."""

import torch

Tensor = torch.Tensor


def probabilities(outputs: Tensor) -> Tensor:
    """Softmax of the outputs, (m, C)."""
    return outputs.softmax(dim=1)


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
