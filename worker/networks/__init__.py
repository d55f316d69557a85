"""Architectures as modules. The layouts in `store.architectures` and the modules here are held together by a test."""

from collections.abc import Callable

from torch import nn

from store.architectures import (
    Architecture,
    Cnn,
    EmbeddingLinear,
    EmbeddingMlp,
    Mlp,
    ResNet18,
    Timm,
    Torchvision,
    Vgg11,
    WideResNet,
    architecture,
)
from store.tables import Json
from worker.networks.packages import timm, torchvision
from worker.networks.perceptrons import embedding_linear, embedding_mlp, mlp
from worker.networks.residual import resnet18, wideresnet
from worker.networks.small import cnn
from worker.networks.vgg import vgg11

_BUILDERS: dict[type[Architecture], Callable[..., nn.Module]] = {
    Mlp: mlp,
    Cnn: cnn,
    ResNet18: resnet18,
    Vgg11: vgg11,
    WideResNet: wideresnet,
    EmbeddingLinear: embedding_linear,
    EmbeddingMlp: embedding_mlp,
    Timm: timm,
    Torchvision: torchvision,
}


def build(name: str, options: Json) -> nn.Module:
    """An architecture with its initial weights. Raises LayoutError, CheckpointError."""
    return module_of(architecture(name, options))


def module_of(fitted: Architecture) -> nn.Module:
    """The module of complete options, with its initial weights. Raises CheckpointError."""
    return _BUILDERS[type(fitted)](fitted)
