"""The full empirical tangent kernel, with its regression and look-ahead in (item, output) coordinates.

Source: [TH] "Insights From Infinitely Wide Neural Networks", sections 3.1 and 3.4. Coordinates are (n, c) with the
output running fastest. Size grows with (NC)²: for small windows, and to judge the pseudo-NTK by.
"""

import torch
from torch import nn

from ntk.errors import TooLargeError
from ntk.kernel import in_batches, moved
from ntk.linalg import jittered_cholesky
from ntk.linearize import Features, Linearization
from ntk.products import Precision, Products, lower, mirror, whole

Tensor = torch.Tensor

COORDINATES_MAX = 16_384


class FullKernel:
    """Θ(x, x')_{cc'} = ∇θ f_c(x) · ∇θ f_c'(x'), exact."""

    def __init__(
        self,
        module: nn.Module,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        precision: Precision = "float64",
        coordinates_max: int = COORDINATES_MAX,
    ) -> None:
        """Raises UnsupportedNetworkError."""
        self._dtype = dtype
        self._device = device or torch.device("cpu")
        self._linearization = Linearization(module, self._device, dtype)
        self._products = Products(precision, self._device)
        self._coordinates_max = coordinates_max

    def outputs(self, x: Tensor) -> Tensor:
        """Network outputs (N, C), float64."""
        return in_batches(self._linearization.network.outputs, x, self._device, self._dtype)

    def gram(self, x: Tensor) -> Tensor:
        """(NC, NC) over x, float64, exactly symmetric. Raises TooLargeError when N·C is past the limit."""
        classes = self._linearization.network.outputs(moved(x[0:1], self._device, self._dtype)).shape[1]
        size = len(x) * classes
        if size > self._coordinates_max:
            raise TooLargeError(
                f"the full kernel of {len(x)} items with {classes} outputs has {size} x {size} entries; the limit is "
                f"{self._coordinates_max} coordinates: at most {self._coordinates_max // classes} items, or the kernel "
                "'pntk', which is a scalar for a pair of items"
            )
        x = moved(x, self._device, self._dtype)
        tiles = [self._of_output(x, c, classes) for c in range(classes)]
        gram = torch.zeros((size, size), dtype=torch.float64, device=self._device)
        for c, rows in enumerate(tiles):
            for d, columns in enumerate(tiles[: c + 1]):
                block = torch.zeros((len(x), len(x)), dtype=torch.float64, device=self._device)
                blocks = lower(len(x)) if c == d else whole(len(x), len(x))
                rows.add(block, columns, blocks, self._products)
                if c == d:
                    mirror(block)
                gram[c::classes, d::classes] = block
                gram[d::classes, c::classes] = block.mT
        return gram

    def _of_output(self, x: Tensor, c: int, classes: int) -> Features:
        weights = torch.zeros(classes, dtype=self._dtype, device=self._device)
        weights[c] = 1
        return self._linearization.features(x, weights)


def coordinates(items: Tensor, classes: int) -> Tensor:
    """(n·C,) coordinates of these items (n,)."""
    return (items[:, None] * classes + torch.arange(classes, device=items.device)).flatten()


def regress(
    gram: Tensor,  # (NC, NC)
    outputs: Tensor,  # (N, C)
    ridge: float,
    labeled: Tensor,  # (n,)
    labels: Tensor,  # (n,) int
) -> tuple[Tensor, Tensor]:
    """((N, C) linearized outputs, (NC, NC) posterior covariance) after fitting these labels [TH 3.1].

    Raises NonFiniteError, NotPositiveDefiniteError.
    """
    classes = outputs.shape[1]
    at = coordinates(labeled, classes)
    targets = torch.nn.functional.one_hot(labels, classes).to(gram.dtype)
    ridged = gram[at][:, at] + ridge * torch.eye(len(at), dtype=gram.dtype, device=gram.device)
    factor, _ = jittered_cholesky(ridged)
    v = torch.linalg.solve_triangular(factor, gram[at], upper=False)
    residuals = (targets - outputs[labeled]).reshape(-1, 1)
    fitted = outputs + (v.mT @ torch.linalg.solve_triangular(factor, residuals, upper=False)).view_as(outputs)
    return fitted, gram - v.mT @ v


def mlmoc(
    covariance: Tensor,  # (NC, NC), posterior
    fitted: Tensor,  # (N, C)
    ridge: float,
    candidates: Tensor,  # (m,)
) -> Tensor:
    """(m,) Σ_x ‖f⁺(x) − f(x)‖₂ over the candidates, each labeled with its own prediction [LA eq. 13], [TH 3.4].

    One C × C solve per candidate: f⁺ − f = S(:, x') (S(x', x') + λI)⁻¹ (y' − f(x')).
    """
    classes = fitted.shape[1]
    at = coordinates(candidates, classes)
    S = covariance[at][:, at].view(len(candidates), classes, len(candidates), classes)
    scores = []
    eye = ridge * torch.eye(classes, dtype=S.dtype, device=S.device)
    for k, item in enumerate(candidates):
        target = torch.nn.functional.one_hot(fitted[item].argmax(), classes).to(S.dtype)
        step = torch.linalg.solve(S[k, :, k] + eye, target - fitted[item])
        scores.append((S[:, :, k] @ step).norm(dim=1).sum())
    return torch.stack(scores) if scores else fitted.new_zeros(0)
