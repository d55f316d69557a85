"""Inputs with mean zero and a scale of one, by a layer that belongs to the network."""

from collections import OrderedDict

import torch
from torch import nn

from ntk.kernel import Items, tile_plan
from worker.training.batches import dtype_of

Tensor = torch.Tensor
_BATCH = 1024
# Deviations whose root mean square is at most so many times their median are taken to be in one unit.
_ONE_UNIT = 10


class Standardise(nn.Module):
    """(x − mean) / scale; both are buffers, broadcast over the items."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("scale", scale.detach().clone())

    def forward(self, x: Tensor) -> Tensor:  # (N, ...) -> (N, ...)
        """The standardised items."""
        return (x - self.mean) / self.scale


def standardisation(x: Items) -> tuple[Tensor, Tensor]:
    """(mean, scale) of items, float64, in one pass: (D,) each for vectors, (channels, 1, ...) each for images.

    Features in one unit (pixels, embeddings, word weights) share one scale, the root mean square of their standard
    deviations over all items (and places): what hardly varies is not blown up until rare values decide everything.
    Features in units of their own are each divided by their deviation; 1 where every value is the same. Batches are
    joined by the formula for the variance of two samples together, so that a large mean costs no digits.

    Raises ValueError for no items, for items that are single numbers or indices, and for values that are not finite.
    """
    if len(x) == 0:
        raise ValueError("there are no items: mean and scale need at least one")
    count = 0
    mean = squares = low = high = torch.zeros(0)
    for start, stop in tile_plan(len(x), _BATCH):
        values = _by_feature(x[start:stop])
        own, own_mean = values.shape[1], values.mean(dim=1)
        own_squares = (values - own_mean[:, None]).square().sum(dim=1)
        own_low, own_high = values.aminmax(dim=1)
        if count == 0:
            mean, squares, low, high = own_mean, own_squares, own_low, own_high
        else:
            step = own_mean - mean
            mean = mean + step * (own / (count + own))
            squares = squares + own_squares + step.square() * (count * own / (count + own))
            low, high = torch.minimum(low, own_low), torch.maximum(high, own_high)
        count += own
    if not bool(torch.isfinite(mean).all() and torch.isfinite(squares).all()):
        raise ValueError("the items hold values that are not finite numbers, or too large to be squared")
    scale = (squares / count).sqrt()
    # Equal values are told by their range: their mean is rounded, and the rounding must not become a scale.
    same = (low == high) | (scale < torch.finfo(torch.float32).tiny)
    varying = scale[~same]
    if len(varying):
        together = varying.square().mean().sqrt()
        if together <= _ONE_UNIT * varying.median():
            scale[:] = together
    scale[same] = 1
    places = [1] * (x[0:1].ndim - 2)
    return mean.reshape(-1, *places), scale.reshape(-1, *places)


def _by_feature(items: Tensor) -> Tensor:
    """(features or channels, values), float64."""
    if items.ndim < 2 or not items.is_floating_point():
        raise ValueError(
            f"items of shape {tuple(items.shape[1:])} and type {items.dtype} cannot be standardised: "
            "they must be vectors or images of floating-point numbers"
        )
    return items.double().transpose(0, 1).flatten(1)


def standardised(module: nn.Module, mean: Tensor, scale: Tensor) -> nn.Sequential:
    """The network behind a standardising layer, `input` and `network` in its state dict; mode and type are kept."""
    like = next(module.parameters(), mean)
    first = Standardise(mean.to(like.device, dtype_of(module)), scale.to(like.device, dtype_of(module)))
    return nn.Sequential(OrderedDict[str, nn.Module](input=first, network=module)).train(module.training)


def unwrapped(module: nn.Module) -> nn.Module:
    """The network itself, where `standardised` put a layer in front of it."""
    children = list(module.children())
    if isinstance(module, nn.Sequential) and len(children) == 2 and isinstance(children[0], Standardise):
        return children[1]
    return module
