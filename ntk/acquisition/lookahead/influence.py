"""The reasons for a suggestion: whose outputs its label would change."""

import torch

from ntk.acquisition.lookahead.model import TILE_ENTRIES

Tensor = torch.Tensor


def influence(
    covariance: Tensor, variance: Tensor, residual_norms: Tensor, picks: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """(items, changes), each (q, count): the candidates x ≠ x' whose outputs a label at x' would change most.

    ‖f⁺(x) − f(x)‖ = |S(x, x')| ‖r(x')‖ / u(x'), largest first; at most the m − 1 others.
    """
    count = min(count, len(covariance) - 1)
    items, changes = [], []
    for tile in torch.split(picks, max(1, TILE_ENTRIES // max(len(covariance), 1))):
        size = covariance[tile].double().abs_()
        size[torch.arange(len(tile), device=tile.device), tile] = -1
        best = size.topk(count, dim=1)
        items.append(best.indices)
        changes.append(best.values * (residual_norms[tile] / variance[tile])[:, None])
    return torch.cat(items), torch.cat(changes)
