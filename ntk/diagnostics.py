"""Numbers about the labeled set and the kernel.

Source: [DYN] "Deep Active Learning by Leveraging Training Dynamics", NeurIPS 2022: alignment, the generalisation
bound's term (equation 18) and the maximum mean discrepancy (equations 31 and 32, with one sum over the shared points).
"""

import torch

from ntk.errors import NonFiniteError
from ntk.factor import Factor
from ntk.linalg import largest_eigenvalue

Tensor = torch.Tensor
# Up to this many labels the eigenvalues are computed; beyond, the two that matter are iterated for.
_EXACT_UP_TO = 256


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


def condition(factor: Factor) -> float | None:
    """Condition number of A, in the 2-norm; None without labels.

    Exact up to 256 labels. Beyond, the quotient of two Rayleigh quotients, of A and of A⁻¹ after a few steps of power
    iteration on a block of vectors, O(n²) each: an estimate from below, in practice within a few per cent.
    """
    n = len(factor)
    if n == 0:
        return None
    if n <= _EXACT_UP_TO:
        values = torch.linalg.svdvals(factor.dense())
        return float((values[0] / values[-1]).square())
    start = torch.randn((n, 8), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = start.to(factor.diagonal().device)
    return largest_eigenvalue(factor.product, start) * largest_eigenvalue(factor.solve, start)


def spectrum(gram: Tensor, generator: torch.Generator, most: int = 512) -> Tensor:
    """Eigenvalues of a kernel without ridge, descending, float64; gram (N, N).

    Exact up to `most` items. Of more, those of the kernel over a sample of `most` drawn without replacement: N / most
    times as large they estimate the leading ones of all. Raises NonFiniteError.
    """
    size = len(gram)
    if size > most:
        drawn = torch.randperm(size, generator=generator)[:most].sort().values.to(gram.device)
        gram = gram.index_select(0, drawn).index_select(1, drawn)
    if not bool(torch.isfinite(gram).all()):
        raise NonFiniteError("the kernel has entries that are not finite numbers")
    values: Tensor = torch.linalg.eigvalsh(gram.double())
    return values.flip(0)
