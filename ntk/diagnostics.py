"""Numbers about the labeled set and the kernel.

Source: [DYN] "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022: alignment, the generalisation
bound's term (equation 18) and the maximum mean discrepancy (equations 31 and 32, with one sum over the shared points).
"""

import torch

from ntk.factor import Factor

Tensor = torch.Tensor


def alignment(gram: Tensor, labels: Tensor, classes: int) -> float:
    """Kernel-target alignment of labeled items, in [0, 1]: Tr(YᵀKY) / (‖K‖_F ‖YYᵀ‖_F), K (n, n), labels (n,).

    NaN without labels.
    """
    targets = torch.nn.functional.one_hot(labels, classes).to(gram)
    inner = (targets.mT @ gram @ targets).diagonal().sum()
    return float(inner / (torch.linalg.norm(gram) * torch.linalg.norm(targets @ targets.mT)))


def bound_term(factor: Factor, labels: Tensor, classes: int) -> float:
    """√(2 Tr(Yᵀ A⁻¹ Y) / n): what the generalisation bound grows with [DYN eq. 18]. NaN without labels."""
    targets = torch.nn.functional.one_hot(labels, classes).double()
    half = factor.solve_lower(targets)
    return float((2 * half.square().sum() / len(labels)).sqrt()) if len(labels) else float("nan")


def squared_discrepancy(gram: Tensor, labeled: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy between the labeled items (n,) and the window, kernel (N, N).

    Pairs of an item with itself are left out of all three sums, also of the cross sum over the points that both
    samples share [DYN eq. 32, corrected]. NaN with fewer than two labeled items. Chance can make it negative.
    """
    size, n = len(gram), len(labeled)
    if n < 2 or size < 2:
        return float("nan")
    rows = gram[labeled].double()
    own = rows[:, labeled]
    diagonal = gram.diagonal().double()
    inside = (own.sum() - own.diagonal().sum()) / (n * (n - 1))
    # Row sums in tiles: a window's kernel in float64 need not fit twice.
    everything = sum(float(part.double().sum()) for part in gram.split(1024)) - float(diagonal.sum())
    cross = (rows.sum() - own.diagonal().sum()) / (n * (size - 1))
    return float(inside) + everything / (size * (size - 1)) - 2 * float(cross)
