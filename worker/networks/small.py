"""PyTorch's tutorial network."""

from collections import OrderedDict

from torch import nn

from store.architectures import Cnn


def cnn(options: Cnn) -> nn.Module:
    """Two convolutions with pooling, three linear layers, under the tutorial's names."""
    shapes = options.layout()

    def linear(name: str) -> nn.Linear:
        width_out, width_in = shapes[f"{name}.weight"]
        return nn.Linear(width_in, width_out)

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(shapes["conv1.weight"][1], 6, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2, 2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2, 2),
            flatten=nn.Flatten(),
            fc1=linear("fc1"),
            relu3=nn.ReLU(),
            fc2=linear("fc2"),
            relu4=nn.ReLU(),
            fc3=linear("fc3"),
        )
    )
