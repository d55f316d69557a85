"""The tangent kernel of an infinitely wide ReLU perceptron, in closed form.

Source: [CPL] "NTKCPL: Active Learning on Top of Self-Supervised Model by Estimating True Coverage", section 3.2, with
the arc-cosine recursion: for weights of variance 2/width and biases of variance b², a layer takes the covariance Σ to
Σ' = κ₁(Σ) + b² and the tangent kernel Θ to Σ' + Θ ∘ κ₀(Σ).
"""

import math

import torch

from ntk.kernel import Tick, nothing, tile_plan

Tensor = torch.Tensor
TILE_ENTRIES = 1 << 20


def relu_ntk(
    x: Tensor,  # (N, D)
    z: Tensor,  # (M, D)
    depth: int,
    *,
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
    on_tile: Tick = nothing,
) -> Tensor:
    """(N, M) tangent kernel of one output of a ReLU perceptron with `depth` hidden layers, all layers trained.

    Weights enter as √(weight_variance/width)·w and biases as √bias_variance·b with standard normal w and b. Beside the
    kernel a tile of work is held.
    """
    x, z = x.double(), z.double()
    found = torch.empty((len(x), len(z)), dtype=torch.float64, device=x.device)
    for start, stop in tile_plan(len(x), max(1, TILE_ENTRIES // max(len(z), 1))):
        found[start:stop] = _tile(x[start:stop], z, depth, weight_variance, bias_variance)
        on_tile()
    return found


def _tile(x: Tensor, z: Tensor, depth: int, weight_variance: float, bias_variance: float) -> Tensor:
    features = x.shape[1]
    sigma = weight_variance * (x @ z.mT) / features + bias_variance
    at_x = weight_variance * x.square().sum(dim=1) / features + bias_variance
    at_z = weight_variance * z.square().sum(dim=1) / features + bias_variance
    theta = sigma.clone()
    for _ in range(depth):
        norms = torch.outer(at_x.sqrt(), at_z.sqrt())
        cosine = torch.where(norms > 0, sigma / norms.clamp_min(1e-300), torch.zeros_like(norms)).clamp(-1.0, 1.0)
        angle = cosine.acos()
        slope = (math.pi - angle) / (2 * math.pi)
        value = norms * ((1 - cosine.square()).clamp_min(0).sqrt() + (math.pi - angle) * cosine) / (2 * math.pi)
        sigma = weight_variance * value + bias_variance
        theta = sigma + theta * weight_variance * slope
        at_x = weight_variance * at_x / 2 + bias_variance
        at_z = weight_variance * at_z / 2 + bias_variance
    return theta
