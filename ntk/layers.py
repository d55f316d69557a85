"""Layer rules: how a layer's parameters enter the tangent kernel, from its input and its output's gradient.

For one item the gradient of a scalar with respect to a Linear weight is the outer product g aᵀ, so the inner
product of two items' gradients is (a·a')(g·g'): nothing of the parameters' size is ever formed. A layer that
is applied at T positions sums T outer products: either its per-example gradient is materialised, or the T²
inner products of a pair of items are summed, whichever counts fewer multiplications.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ntk.errors import UnsupportedLayerError

Tensor = torch.Tensor

# The tile for which forms are compared. A constant, so that every tile of a layer has the same form.
ITEMS_PER_TILE = 256
# Entries of the table of position pairs that are held at a time.
PAIR_ENTRIES = 1 << 21


@dataclass(frozen=True)
class OuterProduct:
    """Gradients g_i a_iᵀ, one outer product per item: their inner products factorise."""

    inputs: Tensor  # (N, d)
    gradients: Tensor  # (N, p)

    def inner(self, other: "OuterProduct") -> Tensor:
        """(N, M) inner products of gradients."""
        return (self.inputs @ other.inputs.mT) * (self.gradients @ other.gradients.mT)

    def to(self, dtype: torch.dtype) -> "OuterProduct":
        """The same in another precision."""
        return OuterProduct(self.inputs.to(dtype), self.gradients.to(dtype))

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.inputs.nbytes + self.gradients.nbytes


@dataclass(frozen=True)
class Materialised:
    """Gradients as rows."""

    rows: Tensor  # (N, parameters of the layer)

    def inner(self, other: "Materialised") -> Tensor:
        """(N, M) inner products of gradients."""
        return self.rows @ other.rows.mT

    def to(self, dtype: torch.dtype) -> "Materialised":
        """The same in another precision."""
        return Materialised(self.rows.to(dtype))

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.rows.nbytes


@dataclass(frozen=True)
class Positions:
    """Gradients Σ_t g_it a_itᵀ per group of channels, never formed: products summed over pairs."""

    inputs: Tensor  # (N, groups, T, d)
    gradients: Tensor  # (N, groups, T, p)

    def inner(self, other: "Positions") -> Tensor:
        """(N, M) inner products of gradients."""
        items, groups, positions, _ = self.inputs.shape
        others = len(other.inputs)
        total = self.inputs.new_zeros((items, others))
        step = max(1, PAIR_ENTRIES // max(1, others * positions**2))
        for group in range(groups):
            a, g = other.inputs[:, group].flatten(0, 1), other.gradients[:, group].flatten(0, 1)
            for start in range(0, items, step):
                rows = slice(start, start + step)
                pairs = self.inputs[rows, group].flatten(0, 1) @ a.mT
                pairs.mul_(self.gradients[rows, group].flatten(0, 1) @ g.mT)
                total[rows] += pairs.view(-1, positions, others, positions).sum(dim=(1, 3))
        return total

    def to(self, dtype: torch.dtype) -> "Positions":
        """The same in another precision."""
        return Positions(self.inputs.to(dtype), self.gradients.to(dtype))

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.inputs.nbytes + self.gradients.nbytes


Block = OuterProduct | Materialised | Positions


def over_positions(inputs: Tensor, gradients: Tensor) -> Block:
    """The cheaper form for inputs (N, groups, T, d), with the bias's one, and gradients (N, groups, T, p)."""
    positions, d, p = inputs.shape[2], inputs.shape[3], gradients.shape[3]
    # Per pair of items: d·p for materialised gradients, formed once per tile, or T² products of d and p.
    if d * p * (1 + positions / ITEMS_PER_TILE) <= positions**2 * (d + p):
        return Materialised(torch.matmul(gradients.mT, inputs).flatten(1))
    return Positions(inputs, gradients)


def linear(layer: nn.Module, inputs: Tensor, gradients: Tensor) -> Block:
    """Linear on inputs (N, d), or on (N, ..., d) with the positions summed."""
    assert isinstance(layer, nn.Linear)
    if layer.bias is not None:
        # A bias is the weight of an input that is always one.
        inputs = functional.pad(inputs, (0, 1), value=1.0)
    if inputs.ndim == 2:
        return OuterProduct(inputs, gradients)
    return over_positions(inputs.flatten(1, -2)[:, None], gradients.flatten(1, -2)[:, None])


def conv2d(layer: nn.Module, inputs: Tensor, gradients: Tensor) -> Block:
    """Conv2d on (N, channels, height, width), with any stride, padding, dilation and groups."""
    assert isinstance(layer, nn.Conv2d)
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        inputs = functional.pad(
            inputs,
            layer._reversed_padding_repeated_twice,
            mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode,
        )
        padding: tuple[int, ...] = (0, 0)
    else:
        padding = layer.padding
    patches = functional.unfold(
        inputs,
        kernel_size=layer.kernel_size,
        dilation=layer.dilation,
        padding=padding,
        stride=layer.stride,
    )
    items, groups = len(inputs), layer.groups
    # unfold orders (channel, kernel position): channels of one group are contiguous.
    patches = patches.view(items, groups, -1, patches.shape[-1]).mT
    outputs = gradients.flatten(2).view(items, groups, -1, gradients[0, 0].numel()).mT
    if layer.bias is not None:
        patches = functional.pad(patches, (0, 1), value=1.0)
    return over_positions(patches, outputs)


def unfolded_bytes(layer: nn.Module, gradients: Tensor) -> int:
    """Memory that unfolding a layer's input takes, and its copy with the bias's column."""
    if not isinstance(layer, nn.Conv2d):
        return 0
    patch = layer.in_channels * math.prod(layer.kernel_size)
    return 2 * len(gradients) * patch * gradients[0, 0].numel() * gradients.element_size()


Rule = Callable[[nn.Module, Tensor, Tensor], Block]
RULES: dict[type[nn.Module], Rule] = {nn.Linear: linear, nn.Conv2d: conv2d}


def rules_for(module: nn.Module) -> dict[str, Rule]:
    """Name of each layer with parameters -> its rule. Raises UnsupportedLayerError."""
    rules: dict[str, Rule] = {}
    owners: dict[int, str] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
            raise UnsupportedLayerError(
                f"layer {name!r} ({type(layer).__name__}) keeps no running statistics: it mixes the items of a batch"
            )
        own = [parameter for _, parameter in layer.named_parameters(recurse=False)]
        if not own:
            continue
        if type(layer) not in RULES:
            raise UnsupportedLayerError(
                f"layer {name or 'itself'!r} ({type(layer).__name__}) has parameters and no rule; "
                f"there are rules for {', '.join(sorted(kind.__name__ for kind in RULES))}"
            )
        for parameter in own:
            if id(parameter) in owners:
                raise UnsupportedLayerError(f"layers {owners[id(parameter)]!r} and {name!r} share a parameter")
            owners[id(parameter)] = name
        rules[name] = RULES[type(layer)]
    return rules
