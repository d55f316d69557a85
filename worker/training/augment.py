"""Random changes of items that leave their class as it is: weak ones, and strong ones.

Nothing is mirrored: letters and digits change their meaning. Images stay within the values of their batch. All random
numbers are drawn on the CPU: other devices draw other numbers.
"""

import math

import torch
from torch.nn import functional

Tensor = torch.Tensor
# Images: sides, radians and contrasts.
_SHIFT = 1 / 8
_ANGLE = math.radians(15)
_SHEAR = 0.2
_CONTRAST = 0.5
_BRIGHTNESS = 0.3  # in standard deviations of the batch
_CUTOUT = 1 / 2
# Vectors: standard deviations of a feature, and the part of the features that is dropped.
_WEAK_NOISE = 0.05
_STRONG_NOISE = 0.25
_DROPPED = 0.2


def weak(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, channels, height, width) moved by up to 1/8 of a side; vectors (B, D) with little noise.

    Same shape and dtype. What moves in from outside repeats the edge. Raises ValueError for other items.
    """
    _check(x)
    return _shifted(x, generator) if x.ndim == 4 else _noisy(x, _WEAK_NOISE, generator)


def strong(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, channels, height, width) moved, turned, sheared, lit otherwise and with a square cut out; vectors
    (B, D) with noise and some of their features replaced by the batch's mean.

    Same shape and dtype. Raises ValueError for other items.
    """
    _check(x)
    if x.ndim == 2:
        return _without_some_features(_noisy(x, _STRONG_NOISE, generator), x.mean(dim=0), generator)
    low, high = x.aminmax()
    turned = _turned(_shifted(x, generator), generator)
    lit = _lit(turned, float(x.std(unbiased=False)), generator).clamp(low, high)
    return _cut_out(lit, x.mean(dim=(0, 2, 3)), generator)


def _check(x: Tensor) -> None:
    if x.ndim not in (2, 4) or not x.is_floating_point() or len(x) == 0:
        raise ValueError(
            f"a batch of shape {tuple(x.shape)} and type {x.dtype} cannot be augmented: it must hold images "
            "(B, channels, height, width) or vectors (B, D) of floating-point numbers, at least one"
        )


def _uniform(shape: tuple[int, ...], reach: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """Numbers between −reach and reach."""
    drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
    return ((2 * drawn - 1) * reach).to(like)


def _shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    for axis in (2, 3):
        side = x.shape[axis]
        reach = round(side * _SHIFT)
        by = torch.randint(-reach, reach + 1, (len(x), 1), generator=generator)
        source = (torch.arange(side) + by).clamp(0, side - 1).to(x.device)  # (B, side)
        shape = [len(x), 1, 1, 1]
        shape[axis] = side
        x = x.gather(axis, source.reshape(shape).expand(x.shape))
    return x


def _turned(x: Tensor, generator: torch.Generator) -> Tensor:
    count, _, height, width = x.shape
    angle = _uniform((count,), _ANGLE, generator, x)
    shear = _uniform((count,), _SHEAR, generator, x)
    theta = x.new_zeros((count, 2, 3))
    theta[:, 0, 0] = angle.cos()
    theta[:, 1, 1] = angle.cos() + shear * angle.sin()
    # The grid's units are sides: what goes from one axis to the other is rescaled.
    theta[:, 0, 1] = (shear * angle.cos() - angle.sin()) * (height / width)
    theta[:, 1, 0] = angle.sin() * (width / height)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _lit(x: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    shape = (len(x), 1, 1, 1)
    contrast = 1 + _uniform(shape, _CONTRAST, generator, x)
    brightness = _uniform(shape, _BRIGHTNESS * deviation, generator, x)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * contrast + mean + brightness


def _cut_out(x: Tensor, fill: Tensor, generator: torch.Generator) -> Tensor:
    """A rectangle of up to half of each side, anywhere, replaced by the channels' means `fill` (channels,)."""
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    for axis in (2, 3):
        side = x.shape[axis]
        length = torch.rand((len(x), 1), generator=generator) * _CUTOUT * side
        centre = torch.rand((len(x), 1), generator=generator) * side
        near = (torch.arange(side) + 0.5 - centre).abs() <= length / 2
        shape = [len(x), 1, 1, 1]
        shape[axis] = side
        inside = inside & near.reshape(shape).to(x.device)
    return torch.where(inside, fill[:, None, None], x)


def _noisy(x: Tensor, size: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    return x + size * x.std(dim=0, unbiased=False) * noise


def _without_some_features(x: Tensor, fill: Tensor, generator: torch.Generator) -> Tensor:
    dropped = torch.rand(x.shape, generator=generator) < _DROPPED
    return torch.where(dropped.to(x.device), fill, x)
