"""Initial weights."""

from torch import nn


def scaled_for_relu(network: nn.Module) -> nn.Module:
    """The network, its convolutions drawn so that the spread of what flows back through ReLUs stays the same."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
