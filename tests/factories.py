"""Random networks, data and kernels for tests. Everything is seeded."""

from dataclasses import dataclass

import torch
from torch import nn

Tensor = torch.Tensor


def mlp(in_features: int, hidden: list[int], classes: int, seed: int = 0) -> nn.Module:
    """A float64 perceptron with its initial weights, in the documented layout."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(in_features, width), nn.ReLU()]
        in_features = width
    return nn.Sequential(*layers, nn.Linear(in_features, classes)).double()


def cnn(channels: int, classes: int, seed: int = 0) -> nn.Module:
    """A small float64 convolutional network with strides, padding, groups and dilation in it."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 2, dilation=2, padding="same", padding_mode="circular"),
        nn.Flatten(),
        nn.LazyLinear(classes),
    ).double()


@dataclass
class Problem:
    """A window with labels: everything a posterior and its oracles start from."""

    x: Tensor
    gram: Tensor
    outputs: Tensor
    ridge: float
    labels: list[int]  # of every item, labeled or not
    labeled: list[int]
    candidates: list[int]


def problem(
    seed: int,
    *,
    items: int = 40,
    labeled: int = 12,
    classes: int = 3,
    ridge: float = 1e-2,
    features: int = 6,
    hidden: list[int] | None = None,
    duplicates: int = 0,
) -> Problem:
    """A random network on random inputs; the last `duplicates` items repeat the first ones."""
    from tests import oracles

    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((items, features), generator=generator, dtype=torch.float64)
    if duplicates:
        x[-duplicates:] = x[:duplicates]
    module = mlp(features, hidden or [16, 8], classes, seed)
    gram = oracles.gram(module, x)
    order = torch.randperm(items, generator=generator).tolist()
    return Problem(
        x=x,
        gram=gram,
        outputs=module(x).detach(),
        ridge=ridge * float(gram.diagonal().mean()),
        labels=torch.randint(classes, (items,), generator=generator).tolist(),
        labeled=order[:labeled],
        candidates=order[labeled:],
    )
