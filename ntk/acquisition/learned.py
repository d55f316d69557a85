"""Scores from what the network itself says: disagreement under dropout, gradient lengths.

Sources: [BALD] Houlsby et al., "Bayesian Active Learning for Classification and Preference Learning", 2011, and Gal,
Islam and Ghahramani, "Deep Bayesian Active Learning with Image Data", ICML 2017; [EGL] Settles, Craven and Ray,
"Multiple-Instance Active Learning", NeurIPS 2007.
"""

from collections.abc import Iterable

import torch

Tensor = torch.Tensor


def bald(samples: Iterable[Tensor]) -> Tensor:
    """Mutual information (nats) between label and parameters, (m,), from outputs (m, C) of sampled networks.

    H(mean of p) − mean of H(p), with p the softmax of a sample's outputs. Samples are read one at a time.
    """
    mean: Tensor | None = None
    entropies: Tensor | None = None
    count = 0
    for outputs in samples:
        log = outputs.double().log_softmax(dim=1)
        p = log.exp()
        own = -(p * log).sum(dim=1)
        mean = p if mean is None else mean + p
        entropies = own if entropies is None else entropies + own
        count += 1
    if mean is None or entropies is None:
        raise ValueError("at least one sample is needed")
    mean = mean / count
    gain: Tensor = -torch.special.xlogy(mean, mean).sum(dim=1) - entropies / count
    # Where samples agree both terms are the same but for their rounding, which must not choose.
    rounding = 8 * mean.shape[1] * torch.finfo(mean.dtype).eps
    return gain.where(gain > rounding, 0)


def last_layer_gradient_lengths(outputs: Tensor, features: Tensor, *, bias: bool) -> Tensor:
    """‖∇ of the cross-entropy in the last layer‖ for every class, (m, C): ‖p − e_y‖ √(‖h‖² + 1).

    `outputs` (m, C), `features` h (m, D); without a bias the 1 is left out.
    """
    p = outputs.softmax(dim=1)
    first = p.argmax(dim=1, keepdim=True)
    rest = p.scatter(1, first, 0)
    squares = (1 - p).square() + (p.square().sum(dim=1, keepdim=True) - p.square()).clamp(min=0)
    # At the first class all of this cancels when the network is certain: take what the other classes hold.
    certain = rest.sum(dim=1, keepdim=True).square() + rest.square().sum(dim=1, keepdim=True)
    residual = squares.scatter(1, first, certain).sqrt()
    reach = (features.square().sum(dim=1) + (1 if bias else 0)).sqrt()
    return residual * reach[:, None]


def expected_length(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Σ_y p(y|x) ‖∇ℓ(x, y)‖, (m,) [EGL], with p the softmax of outputs (m, C) and lengths (m, C)."""
    return (outputs.softmax(dim=1) * lengths).sum(dim=1)
