"""Look-ahead: how the model's outputs would change if a candidate were labeled, in closed form.

Source: [LA] "Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels",
NeurIPS 2022, equation 13 (MLMOC), with the rank-one form of equation 12.
"""

import torch

from ntk.errors import NonFiniteError

Tensor = torch.Tensor

# Entries per tile of (rows, m): a few MiB, to stay near the processor's caches.
TILE_ENTRIES = 1 << 20


def _residuals(outputs: Tensor, reference: Tensor | None) -> Tensor:
    """r(x') = y' − f(x') with y' the class the reference predicts: (m, C)."""
    pseudo = (outputs if reference is None else reference).argmax(dim=1)
    residuals: Tensor = -outputs.double()
    residuals[torch.arange(len(outputs), device=outputs.device), pseudo] += 1
    return residuals


def _tiles(size: int) -> list[slice]:
    rows = max(1, TILE_ENTRIES // max(size, 1))
    return [slice(start, min(start + rows, size)) for start in range(0, size, rows)]


def mlmoc(
    covariance: Tensor,  # (m, m)
    variance: Tensor,  # (m,)
    outputs: Tensor,  # (m, C)
    reference: Tensor | None,  # (m, C)
    column_l1: Tensor,  # (m,)
) -> Tensor:
    """Most likely model output change of every candidate, (m,) [LA eq. 13].

    Without a reference the change is measured from the linearized outputs themselves, where it is a column
    sum: ‖r(x')‖ / u(x') · Σ_x |S(x, x')|. With one (the network's outputs) it is Σ_x ‖f⁺(x) − reference(x)‖.
    """
    if reference is None:
        length: Tensor = torch.linalg.vector_norm(_residuals(outputs, None), dim=1)
        return length / variance * column_l1
    everyone = torch.ones(len(outputs), dtype=covariance.dtype, device=covariance.device)
    return _network_change(covariance, None, variance, outputs, reference, everyone)


def greedy_mlmoc(
    covariance: Tensor,  # (m, m)
    variance: Tensor,  # (m,)
    outputs: Tensor,  # (m, C)
    reference: Tensor | None,  # (m, C)
    column_l1: Tensor,  # (m,)
    *,
    count: int,
    tie_break: Tensor,  # (m,)
    eligible: Tensor,  # (m,) bool
) -> tuple[Tensor, Tensor]:
    """(indices, scores) of a batch, each pick conditioned on the earlier ones with their predicted classes.

    The covariance is not changed: S − Σ c cᵀ / u over the picks is formed in tiles. A picked item counts as
    labeled, so it leaves the sum over candidates. Fewer than `count` come back when fewer are eligible.
    Raises NonFiniteError when a score is NaN.
    """
    chosen: list[int] = []
    scores: list[float] = []
    variance, outputs = variance.clone(), outputs.double().clone()
    halves = variance.new_empty((0, len(variance)))  # c / √u per pick
    unpicked = torch.ones_like(eligible)
    for _ in range(min(count, int(eligible.sum()))):
        counted = unpicked.to(covariance.dtype)
        if reference is not None:
            score = _network_change(covariance, halves, variance, outputs, reference, counted)
        else:
            l1 = _conditioned_l1(covariance, halves, counted) if len(halves) else column_l1
            score = mlmoc(covariance, variance, outputs, None, l1)
        pick = _best(score, tie_break, eligible & unpicked)
        chosen.append(pick)
        scores.append(float(score[pick]))
        unpicked[pick] = False
        one = slice(pick, pick + 1)
        residual = _residuals(outputs[one], None if reference is None else reference[one])[0]
        change = covariance[:, pick].double() - halves.mT @ halves[:, pick]
        outputs += torch.outer(change, residual) / variance[pick]
        half = change / variance[pick].sqrt()
        variance = variance - half.square()
        halves = torch.cat([halves, half[None]])
    device = outputs.device
    return (
        torch.tensor(chosen, dtype=torch.long, device=device),
        torch.tensor(scores, dtype=torch.float64, device=device),
    )


def _best(scores: Tensor, tie_break: Tensor, allowed: Tensor) -> int:
    if bool(torch.isnan(scores).any()):
        raise NonFiniteError("a score is not a number")
    masked = torch.where(allowed, scores, -torch.inf)
    ties = (masked == masked.max()).nonzero()[:, 0]
    return int(ties[tie_break[ties].argmin()])


def _conditioned(covariance: Tensor, rows: slice, halves: Tensor | None) -> Tensor:
    """A new (r, m) tile of S − HᵀH."""
    if halves is None or len(halves) == 0:
        return covariance[rows].clone()
    h = halves.to(covariance.dtype)
    return torch.addmm(covariance[rows], h[:, rows].mT, h, alpha=-1)


def _conditioned_l1(covariance: Tensor, halves: Tensor, counted: Tensor) -> Tensor:
    """Σ_x |S − HᵀH|(x, x') over the counted x, (m,)."""
    total = torch.zeros(len(covariance), dtype=torch.float64, device=covariance.device)
    for rows in _tiles(len(covariance)):
        total += counted[rows] @ _conditioned(covariance, rows, halves).abs_()
    return total


def _network_change(
    covariance: Tensor,
    halves: Tensor | None,
    variance: Tensor,
    outputs: Tensor,
    reference: Tensor,
    counted: Tensor,  # (m,) 1 for the items in the sum, 0 for the others
) -> Tensor:
    """Σ_x ‖D(x) + W(x,x') r(x')‖ over the counted x, D = f − reference, W = (S − HᵀH) / u: (m,)."""
    dtype = covariance.dtype
    difference, residuals = (outputs - reference).to(dtype), _residuals(outputs, reference).to(dtype)
    d_squared, r_squared = difference.square().sum(dim=1), residuals.square().sum(dim=1)
    scale = (1 / variance).to(dtype)
    total = torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
    for rows in _tiles(len(outputs)):
        w = _conditioned(covariance, rows, halves).mul_(scale)
        squared = (difference[rows] @ residuals.mT).mul_(2).add_(w * r_squared).mul_(w)
        squared.add_(d_squared[rows, None])
        # Rounding can leave a tiny negative square where nothing changes.
        total += counted[rows] @ squared.clamp_(min=0).sqrt_()
    return total


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
