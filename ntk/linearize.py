"""One forward and one backward pass: a network's outputs and what its tangent kernel is made of.

Source: [TH] "Insights From Infinitely Wide Neural Networks", section 3.2 (the pseudo-NTK).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ntk.errors import UnsupportedLayerError
from ntk.layers import Block, rules_for

Tensor = torch.Tensor


@dataclass(frozen=True)
class Features:
    """Per-layer blocks whose inner products sum to the kernel, for a tile of items."""

    blocks: list[Block]

    def inner(self, other: "Features") -> Tensor:
        """(N, M) kernel block, float64: products in the blocks' dtype, layers summed in float64."""
        total: Tensor | None = None
        for mine, its in zip(self.blocks, other.blocks, strict=True):
            # Both come from the same network: block k is of the same kind on either side.
            product = mine.inner(its).double()  # type: ignore[arg-type]
            total = product if total is None else total.add_(product)
        assert total is not None
        return total

    def to(self, dtype: torch.dtype) -> "Features":
        """The same in another precision."""
        return Features([block.to(dtype) for block in self.blocks])

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(block.nbytes for block in self.blocks)


class Linearization:
    """A network in eval mode whose layers' inputs and output gradients can be captured."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module.eval().requires_grad_(False)
        self._rules = rules_for(module)
        if not self._rules:
            raise UnsupportedLayerError("the network has no parameters")

    def outputs(self, x: Tensor) -> Tensor:
        """Network outputs (N, C)."""
        with torch.no_grad():
            outputs: Tensor = self._module(x)
        return outputs

    def features(self, x: Tensor) -> Features:
        """What the pseudo-NTK of these items is made of: gradients of Σ_c f_c(x)/√C [TH 3.2].

        Raises UnsupportedLayerError when a layer is used twice in one pass, or not at all.
        """
        captured: dict[str, tuple[Tensor, Tensor]] = {}
        handles = []
        for name, layer in self._module.named_modules():
            if name in self._rules:
                handles.append(layer.register_forward_hook(_capture(name, captured)))
        try:
            with torch.enable_grad():
                outputs = self._module(x.detach().requires_grad_(True))
        finally:
            for handle in handles:
                handle.remove()
        if missing := set(self._rules) - set(captured):
            raise UnsupportedLayerError(f"layer {sorted(missing)[0]!r} takes no part in the forward pass")
        scalar = outputs.sum() / math.sqrt(outputs.shape[1])
        gradients = torch.autograd.grad(scalar, [captured[name][1] for name in self._rules])
        with torch.no_grad():
            return Features(
                [
                    rule(self._module.get_submodule(name), captured[name][0].detach(), gradient)
                    for (name, rule), gradient in zip(self._rules.items(), gradients, strict=True)
                ]
            )


def _capture(name: str, captured: dict[str, tuple[Tensor, Tensor]]):  # type: ignore[no-untyped-def]
    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if name in captured:
            raise UnsupportedLayerError(f"layer {name!r} is used more than once in a forward pass")
        # An in-place activation right after the layer must not overwrite what was captured.
        captured[name] = (inputs[0], output)
        return output.clone()

    return hook
