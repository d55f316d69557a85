"""VGG with eleven layers: [VGG] of `store.architectures.vgg`."""

from collections import OrderedDict

from torch import nn

from store.architectures import Vgg11
from store.architectures.vgg import HIDDEN, PLAN, POOLED
from worker.networks.initial import scaled_for_relu


def vgg11(options: Vgg11) -> nn.Module:
    """Convolutions, a mean over what is left of the sides, and the classifier."""
    assert options.classes is not None
    small = options.stem == "cifar"
    return scaled_for_relu(
        nn.Sequential(
            OrderedDict(
                features=_features(options),
                avgpool=nn.AdaptiveAvgPool2d(1 if small else POOLED),
                flatten=nn.Flatten(),
                classifier=nn.Linear(PLAN[-2], options.classes) if small else _classifier(options.classes),
            )
        )
    )


def _features(options: Vgg11) -> nn.Sequential:
    assert options.in_channels is not None
    layers: list[nn.Module] = []
    before = options.in_channels
    for width in PLAN:
        if width == 0:
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(before, width, 3, padding=1))
        if options.batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU())
        before = width
    return nn.Sequential(*layers)


def _classifier(classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(PLAN[-2] * POOLED**2, HIDDEN),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(HIDDEN, classes),
    )
