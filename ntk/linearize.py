"""One forward and one backward pass: a network's outputs and what its tangent kernel is made of.

Source: [TH] "Insights From Infinitely Wide Neural Networks", section 3.2 (the pseudo-NTK).
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn

from ntk.errors import NonFiniteError, UnsupportedLayerError
from ntk.layers import Block, rules_for, unfolded_bytes

Tensor = torch.Tensor


@dataclass(frozen=True)
class Features:
    """Per-layer blocks whose inner products sum to the kernel, for a tile of items."""

    blocks: list[Block]
    # What capturing these took, roughly: activations, their gradients and the largest unfolding.
    working_bytes: int = 0

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
        return Features([block.to(dtype) for block in self.blocks], self.working_bytes)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(block.nbytes for block in self.blocks)


class Linearization:
    """A network in eval mode whose layers' inputs and output gradients can be captured."""

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        # A copy: the caller's network keeps its mode and its gradients.
        self._module = copy.deepcopy(module).to(device, dtype).eval().requires_grad_(False)
        self._rules = rules_for(self._module)
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
        # The network's own activations between layers are about as large as what was captured.
        held = 3 * sum(a.nbytes + g.nbytes for (a, _), g in zip(captured.values(), gradients, strict=True))
        unfolded = 0
        blocks = []
        with torch.no_grad():
            for (name, rule), gradient in zip(self._rules.items(), gradients, strict=True):
                layer = self._module.get_submodule(name)
                blocks.append(rule(layer, captured[name][0].detach(), gradient))
                unfolded = max(unfolded, unfolded_bytes(layer, gradient))
        return Features(blocks, held + unfolded)

    def check(self, x: Tensor) -> None:
        """Compare the kernel of each of a few items with autograd's. Raises UnsupportedLayerError if they differ.

        It catches what no rule can see: parameters used past their layer, random or batch-dependent passes.
        """
        features = self.features(x)
        found = features.inner(features).diagonal().tolist()
        bound = 1e-6 if x.dtype == torch.float64 else 1e-3
        for k, ours in enumerate(found):
            expected = self._squared_gradient(x[k : k + 1])
            if not (math.isfinite(ours) and math.isfinite(expected)):
                raise NonFiniteError("the network's outputs or their gradients are not finite")
            if abs(ours - expected) > bound * max(ours, expected):
                raise UnsupportedLayerError(
                    f"the layers' kernel of an item is {ours:.6g} and autograd's is {expected:.6g}: the forward "
                    "pass uses parameters outside their layers, is random, or mixes the items of a batch"
                )

    def _squared_gradient(self, item: Tensor) -> float:
        """‖∇θ Σ_c f_c/√C‖² of one item (1, ...), by autograd over the parameters."""
        try:
            self._module.requires_grad_(True)
            with torch.enable_grad():
                outputs = self._module(item.detach())
                scalar = outputs.sum() / math.sqrt(outputs.shape[1])
                gradients = torch.autograd.grad(scalar, list(self._module.parameters()))
        finally:
            self._module.requires_grad_(False)
        return sum(float(gradient.double().square().sum()) for gradient in gradients)


def _capture(name: str, captured: dict[str, tuple[Tensor, Tensor]]):  # type: ignore[no-untyped-def]
    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if name in captured:
            raise UnsupportedLayerError(f"layer {name!r} is used more than once in a forward pass")
        # An in-place activation right after the layer must not overwrite what was captured.
        captured[name] = (inputs[0], output)
        return output.clone()

    return hook
