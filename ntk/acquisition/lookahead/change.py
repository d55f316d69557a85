"""Expected change of the outputs: MLMOC with the most likely label, EMOC with the expected one, in closed form.

Source: [LA] "Making Look-Ahead Active Learning Strategies Feasible with Neural Tangent Kernels", NeurIPS 2022,
equations 3 (EMOC) and 13 (MLMOC).
"""

from typing import Literal

import torch

from ntk.acquisition.lookahead.model import LookAhead

Tensor = torch.Tensor
Change = Literal["norm", "flips"]


def mlmoc(look: LookAhead, change: Change = "norm") -> Tensor:
    """Most likely model output change of every candidate, (m,) [LA eq. 13].

    Σ_x ‖f⁺(x) − reference(x)‖ over the counted x, the label being what the reference predicts. Without a reference
    it is a column sum, ‖r(x')‖ / u(x') · Σ_x |S(x, x')|. `flips` counts the x whose predicted class changes instead.
    """
    classes = look.outputs.shape[1]
    certain = torch.nn.functional.one_hot(look.pseudo_labels, classes).double()
    if change == "flips":
        return _flips(look, certain)
    if look.reference is None:
        length: Tensor = torch.linalg.vector_norm(look.residuals(), dim=1)
        return length / look.variance * look.column_sums()
    return _distance(look, certain)


def emoc(look: LookAhead, probabilities: Tensor, change: Change = "norm") -> Tensor:
    """Expected model output change of every candidate, (m,) [LA eq. 3]; `probabilities` (m, C) are p(y'|x').

    Without a reference it is Σ_y' p(y'|x') ‖y' − f(x')‖ / u(x') · Σ_x |S(x, x')|: one column sum for all C labels.
    """
    if change == "flips":
        return _flips(look, probabilities)
    if look.reference is None:
        lengths = _squared_residuals(look.outputs).sqrt()
        return (probabilities * lengths).sum(dim=1) / look.variance * look.column_sums()
    return _distance(look, probabilities)


def _squared_residuals(outputs: Tensor) -> Tensor:
    """‖e_y − f‖² of every class y, (m, C)."""
    squared = 1 - 2 * outputs + outputs.square().sum(dim=1, keepdim=True)
    return squared.clamp(min=0)


def _distance(look: LookAhead, probabilities: Tensor) -> Tensor:
    """Σ_y p(y|x') Σ_x ‖D(x) + W(x, x') (e_y − f(x'))‖ with D = f − reference, (m,).

    The square is ‖D‖² + 2 W (D_y − D·f(x')) + W² ‖e_y − f(x')‖²: one product D fᵀ serves all labels.
    """
    dtype = look.covariance.dtype
    difference = (look.outputs - look.base).to(dtype)
    outputs, squares = look.outputs.to(dtype), _squared_residuals(look.outputs).to(dtype)
    own, weights = difference.square().sum(dim=1), look.weights()
    possible = [y for y in range(outputs.shape[1]) if bool((probabilities[:, y] > 0).any())]
    total = torch.zeros(look.size, dtype=torch.float64, device=outputs.device)
    for rows, w in look.tiles():
        projected = difference[rows] @ outputs.mT
        for y in possible:
            at = (probabilities[:, y] > 0).nonzero()[:, 0]
            part, shift = w[:, at], projected[:, at]
            squared = (difference[rows, y, None] - shift).mul_(2).addcmul_(part, squares[at, y]).mul_(part)
            # Rounding can leave a tiny negative square where nothing changes.
            lengths = squared.add_(own[rows, None]).clamp_(min=0).sqrt_()
            total[at] += probabilities[at, y] * (weights[rows] @ lengths).double()
    return total


def _flips(look: LookAhead, probabilities: Tensor) -> Tensor:
    """Σ_y p(y|x') · number of counted x whose predicted class differs from the reference's, (m,)."""
    classes = look.outputs.shape[1]
    dtype = look.covariance.dtype
    outputs, before = look.outputs.to(dtype), look.pseudo_labels
    weights = look.counted.double()
    possible = [y for y in range(classes) if bool((probabilities[:, y] > 0).any())]
    total = torch.zeros(look.size, dtype=torch.float64, device=outputs.device)
    for rows, w in look.tiles(classes):
        shifted = outputs[rows, None, :] - w[..., None] * outputs
        for y in possible:
            at = (probabilities[:, y] > 0).nonzero()[:, 0]
            after = shifted[:, at]
            after[..., y] += w[:, at]
            changed = after.argmax(dim=2) != before[rows, None]
            total[at] += probabilities[at, y] * (weights[rows] @ changed.double())
    return total
