"""Loss gradients of a network, contracted as they come: linear in the items, never a Gram matrix, never N × P.

With J(x) = ∂f(x)/∂θ and one weight vector w per item, a loss gradient is g = Jᵀw: w is the loss's derivative with
respect to the outputs.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntk.capture.network import class_scores
from ntk.errors import ChangingPassError
from ntk.kernel import Items, Tick, in_batches, moved, nothing, tile_plan
from ntk.linearize import ITEMS_CHECKED, Linearization

Tensor = torch.Tensor
Direction = dict[str, Tensor]
_BATCH = 256


class Gradients:
    """Norms, sums and directional derivatives of per-item loss gradients of one network in eval mode."""

    def __init__(
        self, module: nn.Module, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
    ) -> None:
        """Raises UnsupportedNetworkError."""
        self._device = device or torch.device("cpu")
        self._dtype = dtype
        self._linearization = Linearization(module, self._device, dtype)
        self._network = self._linearization.network

    def outputs(self, x: Items) -> Tensor:
        """Network outputs (N, C), float64."""
        return in_batches(self._network.outputs, x, self._device, self._dtype)

    def squared_norms(self, x: Items, weights: Tensor, on_batch: Tick = nothing) -> Tensor:
        """‖J(x)ᵀw‖², (N,), float64, for weights (N, C)."""

        def norms(batch: Tensor, own: Tensor) -> Tensor:
            try:
                return self._linearization.features(batch, own).diagonal()
            except ChangingPassError:
                self._linearization.give_up()
                return self._linearization.features(batch, own).diagonal()

        return self._in_batches(norms, x, weights, on_batch)

    def total(self, x: Items, weights: Tensor, on_batch: Tick = nothing) -> Direction:
        """Σ_x J(x)ᵀw by parameter, for weights (N, C)."""
        parameters = self._network.parameters
        sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        try:
            for start, stop in tile_plan(len(x), _BATCH):
                batch = moved(x[start:stop], self._device, self._dtype)
                with torch.enable_grad():
                    scalar = (self._network(batch) * weights[start:stop].to(batch.device, self._dtype)).sum()
                found = torch.autograd.grad(scalar, list(parameters.values()), allow_unused=True)
                for name, gradient in zip(sums, found, strict=True):
                    if gradient is not None:
                        sums[name] += gradient
                on_batch()
        finally:
            self._network.module.requires_grad_(False)
        return sums

    def along(self, x: Items, weights: Tensor, direction: Direction, on_batch: Tick = nothing) -> Tensor:
        """(J(x)ᵀw)·v, (N,), float64, for weights (N, C) and a direction v by parameter: one pass, no gradient kept.

        By forward-mode differentiation where it agrees with the gradients of a few items, else by differentiating the
        gradient.
        """
        forward = len(x) > 0 and self._forward_agrees(x, weights, direction)

        def products(batch: Tensor, own: Tensor) -> Tensor:
            # Of the ways to compute attention only the plain one can be differentiated forward, or twice.
            with sdpa_kernel(SDPBackend.MATH):
                found = self._forward_mode(batch, own, direction) if forward else None
                return self._double_backward(batch, own, direction) if found is None else found

        return self._in_batches(products, x, weights, on_batch)

    def _forward_agrees(self, x: Items, weights: Tensor, direction: Direction) -> bool:
        """Whether forward mode gives what gradients do: it sees through `torch.no_grad`, which those stop at."""
        count = min(len(x), ITEMS_CHECKED)
        few = moved(x[0:count], self._device, self._dtype)
        own = weights[:count].to(self._device, self._dtype)
        rows = self._network.per_example(list(direction), few, own, loop=True).double()
        along = torch.cat([part.flatten() for part in direction.values()]).double()
        with sdpa_kernel(SDPBackend.MATH):
            found = self._forward_mode(few, own, direction)
        if found is None:
            return False
        bound = torch.finfo(self._dtype).eps ** 0.5 * rows.norm(dim=1) * along.norm()
        return bool(((found - rows @ along).abs() <= bound).all())

    def _forward_mode(self, batch: Tensor, weights: Tensor, direction: Direction) -> Tensor | None:
        """None where some function has no forward-mode derivative."""

        def outputs(values: Direction) -> Tensor:
            return class_scores(functional_call(self._network.module, values, (batch.clone(),)), len(batch))

        try:
            change: Tensor = jvp(outputs, (self._network.parameters,), (direction,))[1]
        except (NotImplementedError, RuntimeError):
            return None
        products: Tensor = (change * weights).double().sum(dim=1)
        return products

    def _double_backward(self, batch: Tensor, weights: Tensor, direction: Direction) -> Tensor:
        parameters = list(self._network.parameters.values())
        for parameter in parameters:
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad():
                scale = torch.ones(len(batch), dtype=self._dtype, device=self._device, requires_grad=True)
                scalar = ((self._network(batch) * weights).sum(dim=1) * scale).sum()
                found = torch.autograd.grad(scalar, parameters, create_graph=True, allow_unused=True)
                terms = [(g * direction[name]).sum() for name, g in zip(direction, found, strict=True) if g is not None]
            (products,) = torch.autograd.grad(torch.stack(terms).sum(), scale)
        finally:
            self._network.module.requires_grad_(False)
        return products.double()

    def _in_batches(
        self, compute: Callable[[Tensor, Tensor], Tensor], x: Items, weights: Tensor, on_batch: Tick
    ) -> Tensor:
        parts = [torch.zeros(0, dtype=torch.float64, device=self._device)]
        for start, stop in tile_plan(len(x), _BATCH):
            batch = moved(x[start:stop], self._device, self._dtype)
            parts.append(compute(batch, weights[start:stop].to(self._device, self._dtype)))
            on_batch()
        return torch.cat(parts)
