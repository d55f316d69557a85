"""Networks that kernel engines are measured on: plain torch, the same weights and inputs in every process."""

import torch
from torch import nn

Tensor = torch.Tensor


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.around = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways, rectified."""
        hidden = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        out: Tensor = (hidden + self.around(x)).relu()
        return out


def resnet18() -> nn.Module:
    """ResNet-18 with the stem for 32x32 images, 11.2 million parameters, statistics that are not the identity."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, width, stride), Block(width, width, 1)]
        channels = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network.eval()


def mlp() -> nn.Module:
    """784-512-512-10."""
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def problem(name: str, items: int) -> tuple[nn.Module, Tensor]:
    """A network and its inputs."""
    torch.manual_seed(0)
    network = mlp() if name == "mlp" else resnet18()
    shape = (784,) if name == "mlp" else (3, 32, 32)
    return network, torch.randn(items, *shape)
