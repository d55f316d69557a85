"""A small network beside the network that says how large an item's loss will be.

Source: [LL4AL] Yoo and Kweon, "Learning Loss for Active Learning", CVPR 2019.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ntk.kernel import Items, in_batches, moved
from worker.training.batches import dtype_of
from worker.training.standardise import unwrapped

Tensor = torch.Tensor
_TAPS_MAX = 4
_WIDTH = 128


class Taps:
    """Up to four intermediate outputs of a network, as a list that is filled anew by every pass.

    They are outputs of the network's layers except the last, evenly spaced, always with the last but one; layers are
    its top-level children. A network without such layers gives its input. Only outputs that are floating-point tensors
    with a row per item count.
    """

    def __init__(self, module: nn.Module) -> None:
        self._network = unwrapped(module)
        self._layers = _layers(self._network)[:-1]
        self._found: dict[int, Tensor] = {}
        self._tapped: list[Tensor] = []
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> list[Tensor]:
        self._hooks = [layer.register_forward_hook(self._keep) for layer in self._layers]
        self._hooks.append(self._network.register_forward_hook(self._choose))
        return self._tapped

    def __exit__(self, *exception: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._found.clear()
        self._tapped.clear()

    def _keep(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._found[id(layer)] = output

    def _choose(self, network: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = [self._found[id(layer)] for layer in self._layers if id(layer) in self._found]
        self._found.clear()
        fit = [o for o in outputs if isinstance(o, Tensor) and o.is_floating_point() and o.ndim > 1]
        self._tapped[:] = _evenly([o for o in fit if len(o) == len(inputs[0])]) or [inputs[0].flatten(1)]


def _layers(network: nn.Module) -> list[nn.Module]:
    """The top-level children; lists of layers count as their layers, and a single child that has some as these."""
    layers = list(_children(network))
    while len(layers) == 1 and len(inner := list(_children(layers[0]))) > 0:
        layers = inner
    return layers


def _children(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from child.children()
        else:
            yield child


def _evenly(found: list[Tensor]) -> list[Tensor]:
    count = min(_TAPS_MAX, len(found))
    return [found[-(-(k + 1) * len(found) // count) - 1] for k in range(count)]


def pooled(tapped: Tensor) -> Tensor:
    """A vector per item, (N, D): images (N, channels, ...) averaged over places, (N, tokens, D) over tokens."""
    if tapped.ndim == 3:
        return tapped.mean(dim=1)
    return tapped.flatten(2).mean(dim=2) if tapped.ndim > 3 else tapped


class LossPredictor(nn.Module):
    """Tapped outputs, each through a linear layer to 128 numbers and ReLU, side by side, to one number [LL4AL]."""

    def __init__(self, widths: Sequence[int], generator: torch.Generator | None = None) -> None:
        """`widths`: the length of each tapped output's vector; initial weights are drawn from the generator."""
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(width, _WIDTH) for width in widths)
        self.score = nn.Linear(_WIDTH * len(widths), 1)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)

    def forward(self, tapped: Sequence[Tensor]) -> Tensor:
        """Scores (N,), in no unit: only their order means something. `tapped` is what `Taps` gives."""
        like = self.score.weight
        parts = [branch(pooled(each).to(like)).relu() for branch, each in zip(self.branches, tapped, strict=True)]
        scores: Tensor = self.score(torch.cat(parts, dim=1))[:, 0]
        return scores


def loss_predictor(module: nn.Module, sample_input: Tensor, generator: torch.Generator | None = None) -> LossPredictor:
    """A predictor that fits the network, on its device and of its type; `sample_input` is items (N, ...), one will do.

    The same network and shape of items give the same shapes, so that a saved state dict can be loaded.
    """
    like = next(module.parameters(), sample_input)
    was_training = module.training
    try:
        with Taps(module) as tapped, torch.no_grad():
            module.eval()(moved(sample_input, like.device, dtype_of(module)).clone())
            widths = [pooled(each).shape[1] for each in tapped]
    finally:
        module.train(was_training)
    return LossPredictor(widths, generator).to(like.device, dtype_of(module))


def ranking_loss(scores: Tensor, losses: Tensor, margin: float = 1.0) -> Tensor:
    """Mean over B // 2 pairs of max(0, margin − s (score_i − score_j)) for scores and losses (B,) [LL4AL eq. 2].

    s is 1 where loss_i > loss_j and −1 otherwise; the first half of the batch is paired with the second. No gradient
    reaches the losses. Zero for a single item.
    """
    half = len(scores) // 2
    if half == 0:
        return scores.sum() * 0
    first, second = losses.detach()[:half], losses.detach()[half : 2 * half]
    sign = torch.where(first > second, 1.0, -1.0).to(scores)
    return functional.relu(margin - sign * (scores[:half] - scores[half : 2 * half])).mean()


def predicted_losses(module: nn.Module, predictor: LossPredictor, x: Items, device: torch.device) -> Tensor:
    """Scores (N,) of items x, float64: the larger, the larger the loss is expected to be.

    Network and predictor are moved to the device and put in eval mode.
    """
    module.to(device).eval()
    predictor.to(device).eval()
    with Taps(module) as tapped:

        def scores(batch: Tensor) -> Tensor:
            with torch.no_grad():
                module(batch.clone())
                return predictor(tapped)  # type: ignore[no-any-return]

        return in_batches(scores, x, device, dtype_of(module))
