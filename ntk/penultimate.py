"""What a network knows of an item just before its last linear layer."""

import torch
from torch import nn

from ntk.capture.network import Network
from ntk.capture.uses import BroadcastUse, OuterUse
from ntk.errors import UnsupportedNetworkError
from ntk.kernel import Items, Tick, in_batches, moved, nothing, tile_plan

Tensor = torch.Tensor
_BATCH = 256


class Penultimate:
    """The input of the last linear layer, read off the forward pass."""

    def __init__(
        self, module: nn.Module, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
    ) -> None:
        """Raises UnsupportedNetworkError."""
        self._dtype = dtype
        self._device = device or torch.device("cpu")
        self._network = Network(module, self._device, dtype)
        self._weight = torch.empty((1, 1), device=self._device)

    def __call__(self, x: Items) -> Tensor:
        """h, (N, d), float64. Raises UnsupportedNetworkError."""
        return self.read(x)[0]

    def outputs(self, x: Items) -> Tensor:
        """Network outputs (N, C), float64."""
        return in_batches(self._network.outputs, x, self._device, self._dtype)

    def last_layer(self, x: Items) -> tuple[Tensor, Tensor]:
        """(h (N, d), the last layer's weight (C, d)), both float64. Raises UnsupportedNetworkError."""
        h, _, _ = self.read(x)
        return h, self._weight.double()

    def read(self, x: Items, on_tile: Tick = nothing) -> tuple[Tensor, int, bool]:
        """(h (N, d) in float64, C, whether the last layer has a bias). Raises UnsupportedNetworkError."""
        parts, classes, bias = [torch.zeros((0, 1), dtype=torch.float64, device=self._device)], 1, False
        for start, stop in tile_plan(len(x), _BATCH):
            h, classes, bias = self._batch(moved(x[start:stop], self._device, self._dtype))
            parts = [*parts, h] if start else [h]
            on_tile()
        return torch.cat(parts), classes, bias

    def _batch(self, x: Tensor) -> tuple[Tensor, int, bool]:
        outputs, recorder = self._network.watch(x)
        outputs, uses = outputs.detach(), recorder.uses
        last = [use for use in uses if use.kind == OuterUse() and use.shape == tuple(outputs.shape)]
        if last and last[-1].saved is not None:
            h = last[-1].saved
            made = h @ self._network.parameters[last[-1].parameter].mT
            biases = [use for use in uses if use.call == last[-1].call and isinstance(use.kind, BroadcastUse)]
            for use in biases:
                made = made + self._network.parameters[use.parameter]
            if bool(torch.allclose(made, outputs, rtol=1e-4, atol=1e-4 * float(outputs.abs().max()))):
                self._weight = self._network.parameters[last[-1].parameter]
                return h.double(), outputs.shape[1], bool(biases)
        raise UnsupportedNetworkError("the network does not end in a linear layer; the kernel 'pntk' takes any network")
