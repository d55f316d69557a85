"""Checkpoints: bytes to a module, safely. Weights come as safetensors only, so nothing is ever unpickled."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from store.architectures import Architecture, Cnn, LayoutError, Mlp, architecture, check_layout
from store.tables import Json
from worker.errors import CheckpointError


def mlp(options: Mlp) -> nn.Module:
    """Flatten, Linear, ReLU, ..., Linear."""
    assert options.in_features is not None
    assert options.classes is not None
    layers: list[nn.Module] = [nn.Flatten()]
    width = options.in_features
    for hidden in options.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, options.classes))


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


_BUILDERS: dict[type[Architecture], Callable[..., nn.Module]] = {Mlp: mlp, Cnn: cnn}


def build(name: str, options: Json) -> nn.Module:
    """An architecture with its initial weights. Raises LayoutError."""
    fitted = architecture(name, options)
    return _BUILDERS[type(fitted)](fitted)


def load(name: str, options: Json, weights: Path) -> nn.Module:
    """The checkpoint as a module in eval mode, on the CPU. Raises CheckpointError."""
    try:
        fitted = architecture(name, options)
        tensors = load_file(weights)
        check_layout(fitted.layout(), {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    except (LayoutError, SafetensorError) as error:
        raise CheckpointError(str(error)) from error
    # A float64 checkpoint keeps its digits; the kernel engine converts as the kernel's dtype asks.
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors.values()) else torch.float32
    module = build(name, options).to(dtype)
    module.load_state_dict({key: tensor.to(dtype) for key, tensor in tensors.items()})
    return module.eval()
