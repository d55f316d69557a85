"""Networks sampled by dropout, with one mask for all items of a sample.

A shared mask makes a sample one network: its outputs for an item do not depend on the batch the item is in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from ntk.capture.network import Network
from ntk.kernel import Items, Tick, in_batches, nothing
from ntk.penultimate import Penultimate

Tensor = torch.Tensor


def has_dropout(module: nn.Module) -> bool:
    """Whether the network has dropout layers with a positive rate."""
    return any(isinstance(layer, _DropoutNd) and layer.p > 0 for layer in module.modules())


class DropoutSamples:
    """Changes of the outputs (N, C) when dropout is on, sample by sample."""

    def __init__(
        self,
        module: nn.Module,
        *,
        rate: float = 0.5,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        """The network's own dropout layers are used; without any, dropout of `rate` acts on the last layer's input.

        Raises UnsupportedNetworkError.
        """
        self._device = device or torch.device("cpu")
        self._dtype = dtype
        self._rate = rate
        self.own_layers = has_dropout(module)
        self._network = Network(module, self._device, dtype) if self.own_layers else None
        self._penultimate = None if self.own_layers else Penultimate(module, dtype=dtype, device=self._device)

    def changes(self, x: Items, count: int, seed: int, on_sample: Tick = nothing) -> Iterator[Tensor]:
        """`count` differences (N, C), float64, between a sampled network's outputs and the plain network's.

        Raises UnsupportedNetworkError where there are neither dropout layers nor a last linear layer.
        """
        if self._network is not None:
            plain = in_batches(self._network.outputs, x, self._device, self._dtype)
            for k in range(count):
                with _masked(self._network.module, seed, k):
                    sampled = in_batches(self._network.outputs, x, self._device, self._dtype)
                yield sampled - plain  # the masks are off by then: whoever stops reading leaves none behind
                on_sample()
            return
        assert self._penultimate is not None
        h, weight = self._penultimate.last_layer(x)
        for k in range(count):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + k)
            kept = _mask((h.shape[1],), self._rate, generator, h)
            yield (h * (kept - 1)) @ weight.mT
            on_sample()


def _mask(shape: tuple[int, ...], rate: float, generator: torch.Generator, like: Tensor) -> Tensor:
    if rate >= 1:
        return like.new_zeros(shape)
    # Drawn on the CPU: other devices draw other numbers.
    return (torch.rand(shape, generator=generator) >= rate).to(like) / (1 - rate)


@contextmanager
def _masked(module: nn.Module, seed: int, sample: int) -> Iterator[None]:
    """Dropout layers multiply by masks that are the same for every item and every batch of a sample."""
    hooks = []
    for index, layer in enumerate(module.modules()):
        if isinstance(layer, _DropoutNd) and layer.p > 0:
            made = partial(_drop, masks={}, seed=(seed * 1_000_003 + sample) * 1009 + index)
            hooks.append(layer.register_forward_hook(made))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _drop(
    layer: _DropoutNd, inputs: tuple[Any, ...], output: Tensor, *, masks: dict[tuple[int, ...], Tensor], seed: int
) -> Tensor:
    # Channels are dropped whole by the layers made for images, single entries by the plain one.
    shape = tuple(output.shape[1:2]) + (1,) * (output.ndim - 2) if _by_channel(layer) else tuple(output.shape[1:])
    if shape not in masks:
        masks[shape] = _mask(shape, layer.p, torch.Generator().manual_seed(seed), output)
    return output * masks[shape]


def _by_channel(layer: _DropoutNd) -> bool:
    return isinstance(layer, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.FeatureAlphaDropout)
