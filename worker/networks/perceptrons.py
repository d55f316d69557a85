"""Linear layers only."""

from itertools import pairwise

from torch import nn

from store.architectures import EmbeddingLinear, EmbeddingMlp, Mlp


def mlp(options: Mlp) -> nn.Module:
    """Flatten, Linear, ReLU, ..., Linear."""
    return nn.Sequential(nn.Flatten(), *_linear_layers(options.widths()))


def embedding_linear(options: EmbeddingLinear) -> nn.Module:
    """One linear layer."""
    assert options.in_features is not None
    assert options.classes is not None
    return nn.Linear(options.in_features, options.classes)


def embedding_mlp(options: EmbeddingMlp) -> nn.Module:
    """Linear, ReLU, ..., Linear."""
    return nn.Sequential(*_linear_layers(options.widths()))


def _linear_layers(widths: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return layers[:-1]
