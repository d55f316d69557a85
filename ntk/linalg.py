"""A Cholesky factorization that says what it added to the diagonal."""

from collections.abc import Callable

import torch

from ntk.errors import NonFiniteError, NotPositiveDefiniteError

Tensor = torch.Tensor

# Relative to the mean diagonal. The ridge is usually 1e-4 of it: more would be another model.
JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4)


def jittered_cholesky(matrix: Tensor) -> tuple[Tensor, float]:
    """Lower Cholesky factor of a symmetric (n, n) float64 matrix, and the jitter its diagonal needed.

    Raises NonFiniteError when an entry is NaN or infinite, NotPositiveDefiniteError when no jitter helps.
    """
    if not torch.isfinite(matrix).all():
        raise NonFiniteError("the Gram matrix has entries that are not finite")
    if len(matrix) == 0:
        return matrix.clone(), 0.0
    scale = float(matrix.diagonal().mean().abs())
    for relative in JITTERS:
        jitter = relative * scale
        shifted = matrix + jitter * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        factor, info = torch.linalg.cholesky_ex(shifted)
        if int(info) == 0:
            return factor, jitter
    raise NotPositiveDefiniteError(
        f"the Gram matrix is not positive definite, even with {jitter:.3g} added to its diagonal: use a larger ridge",
        jitter,
    )


def largest_eigenvalue(apply: Callable[[Tensor], Tensor], start: Tensor, steps: int = 12) -> float:
    """An estimate from below of the largest eigenvalue of a symmetric positive map, by subspace iteration.

    `apply` maps (n, q) to (n, q); `start` (n, q) has full rank.
    """
    basis = torch.linalg.qr(start).Q
    for _ in range(steps):
        basis = torch.linalg.qr(apply(basis)).Q
    return float(torch.linalg.eigvalsh(basis.mT @ apply(basis))[-1])
