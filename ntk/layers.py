"""Layer rules: how a layer's parameters enter the tangent kernel, from its input and its output's gradient.

For one item the gradient of a scalar with respect to a Linear weight is the outer product g aᵀ, so the inner
product of two items' gradients is (a·a')(g·g'): nothing of the parameters' size is ever formed. A convolution
sums such outer products over positions; its per-example gradient is materialised, a tile of items at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from ntk.errors import UnsupportedLayerError

Tensor = torch.Tensor


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


Block = OuterProduct | Materialised


def linear(layer: nn.Module, inputs: Tensor, gradients: Tensor) -> Block:
    """Linear on inputs (N, d), or on (N, ..., d) with the positions summed."""
    assert isinstance(layer, nn.Linear)
    if layer.bias is not None:
        # A bias is the weight of an input that is always one.
        inputs = functional.pad(inputs, (0, 1), value=1.0)
    if inputs.ndim == 2:
        return OuterProduct(inputs, gradients)
    positions = inputs.flatten(1, -2), gradients.flatten(1, -2)
    return Materialised(torch.einsum("ntp,ntd->npd", positions[1], positions[0]).flatten(1))


def conv2d(layer: nn.Module, inputs: Tensor, gradients: Tensor) -> Block:
    """Conv2d with any stride, padding, dilation and groups: per-example weight and bias gradients."""
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
    patches = patches.view(items, groups, -1, patches.shape[-1])
    outputs = gradients.flatten(2).view(items, groups, -1, patches.shape[-1])
    rows = torch.matmul(outputs, patches.mT).flatten(1)
    if layer.bias is not None:
        rows = torch.cat([rows, gradients.flatten(2).sum(dim=2)], dim=1)
    return Materialised(rows)


Rule = Callable[[nn.Module, Tensor, Tensor], Block]
RULES: dict[type[nn.Module], Rule] = {nn.Linear: linear, nn.Conv2d: conv2d}


def rules_for(module: nn.Module) -> dict[str, Rule]:
    """Name of each layer with parameters -> its rule. Raises UnsupportedLayerError."""
    rules: dict[str, Rule] = {}
    owners: dict[int, str] = {}
    for name, layer in module.named_modules():
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
