"""Residual networks: [RES] and [WRN] of `store.architectures.residual`.

Every activation is a module of its own, never in place: what goes through a layer can then be seen there.
"""

import torch
from torch import nn

from store.architectures import ResNet18, WideResNet
from store.architectures.residual import RESNET_WIDTHS
from worker.networks.initial import scaled_for_relu

Tensor = torch.Tensor


def _conv3(width_in: int, width_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions, each normalised, and the input added to them. [RES]"""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3(width_in, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:  # (N, width_in, H, W) -> (N, width, H / stride, W / stride)
        """One block."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(inner)) + self.downsample(x))
        return out


class ResNet(nn.Module):
    """A stem, four stages of two blocks, the mean over places, one linear layer. [RES]"""

    def __init__(self, options: ResNet18) -> None:
        super().__init__()
        assert options.in_channels is not None
        assert options.classes is not None
        small = options.stem == "cifar"
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        self.conv1 = nn.Conv2d(options.in_channels, 64, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool: nn.Module = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        first, second, third, fourth = RESNET_WIDTHS
        self.layer1 = _stage(64, first, 1)
        self.layer2 = _stage(first, second, 2)
        self.layer3 = _stage(second, third, 2)
        self.layer4 = _stage(third, fourth, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(fourth, options.classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, H, W) -> (N, C)
        """Outputs."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        out: Tensor = self.fc(self.flatten(self.avgpool(x)))
        return out


def _stage(width_in: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(width_in, width, stride), BasicBlock(width, width, 1))


def resnet18(options: ResNet18) -> nn.Module:
    """The network of eighteen layers."""
    return scaled_for_relu(ResNet(options))


class PreActivationBlock(nn.Module):
    """Normalise, activate, convolve, twice; the input, or where the width changes a projection of it, added. [WRN]"""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.relu1 = nn.ReLU()
        self.conv1 = _conv3(width_in, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = _conv3(width, width)
        self.convShortcut = None if width_in == width else nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (N, width_in, H, W) -> (N, width, H / stride, W / stride)
        """One block."""
        active = self.relu1(self.bn1(x))
        inner = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        # The projection takes what is normalised already, the plain shortcut what is not.
        out: Tensor = inner + (x if self.convShortcut is None else self.convShortcut(active))
        return out


class Group(nn.Module):
    """Blocks of one width; the first may halve the sides. A class of its own for the keys' sake."""

    def __init__(self, width_in: int, width: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = PreActivationBlock(width_in, width, stride)
        self.layer = nn.Sequential(first, *(PreActivationBlock(width, width, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:  # (N, width_in, H, W) -> (N, width, H / stride, W / stride)
        """All blocks."""
        out: Tensor = self.layer(x)
        return out


class WideNet(nn.Module):
    """A convolution, three groups, the mean over places, one linear layer. [WRN]"""

    def __init__(self, options: WideResNet) -> None:
        super().__init__()
        assert options.in_channels is not None
        assert options.classes is not None
        first, second, third = options.widths
        self.conv1 = _conv3(options.in_channels, 16)
        self.block1 = Group(16, first, options.blocks, 1)
        self.block2 = Group(first, second, options.blocks, 2)
        self.block3 = Group(second, third, options.blocks, 2)
        self.bn1 = nn.BatchNorm2d(third)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(third, options.classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, H, W) -> (N, C)
        """Outputs."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        out: Tensor = self.fc(self.flatten(self.avgpool(self.relu(self.bn1(x)))))
        return out


def wideresnet(options: WideResNet) -> nn.Module:
    """WRN-depth-widen."""
    return scaled_for_relu(WideNet(options))
