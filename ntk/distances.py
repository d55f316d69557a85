"""Squared Euclidean distances between rows, in tiles."""

from collections.abc import Callable

import torch

Tensor = torch.Tensor
_TILE_ENTRIES = 1 << 20


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖², (N, M), for a (N, D) and b (M, D); never negative, and 0 for rows that are alike."""
    return squares_less_products(a.square().sum(dim=1)[:, None] + b.square().sum(dim=1), a @ b.mT)


def squares_less_products(squares: Tensor, products: Tensor) -> Tensor:
    """‖a‖² + ‖b‖² − 2 a·b from the sum of squares and the products, of one shape; 0 where it drowns in rounding."""
    noise = 16 * torch.finfo(squares.dtype).eps
    found = torch.add(squares, products, alpha=-2)
    return found.masked_fill_(found <= noise * squares, 0)


def nearest_squared(a: Tensor, b: Tensor) -> Tensor:
    """min_j ‖a_i − b_j‖², (N,): infinite where b is empty. Tiles of a, so that N × M is never held."""
    found = torch.full((len(a),), torch.inf, dtype=a.dtype, device=a.device)
    if len(b) == 0:
        return found
    rows = max(1, _TILE_ENTRIES // len(b))
    for start in range(0, len(a), rows):
        found[start : start + rows] = squared_distances(a[start : start + rows], b).amin(dim=1)
    return found


def kernel_squared_distances(gram: Tensor, items: Tensor) -> Callable[[int], Tensor]:
    """index -> (m,) K_xx + K_zz − 2 K_xz: distances in a kernel's feature space, kernel (N, N), among `items` (m,)."""
    own = gram.diagonal()[items].double()

    def of(index: int) -> Tensor:
        row = gram[items[index]][items].double()
        return (own + own[index] - 2 * row).clamp_(min=0)

    return of
