"""Residual networks.

Sources: [RES] He et al. 2016, "Deep Residual Learning for Image Recognition"; [WRN] Zagoruyko and Komodakis 2016,
"Wide Residual Networks".
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from store.architectures.base import ImageArchitecture, Shape, affine, batch_norm

RESNET_WIDTHS = (64, 128, 256, 512)


class ResNet18(ImageArchitecture):
    """[RES] with two basic blocks per stage, under torchvision's keys."""

    name = "resnet18"
    stem: Literal["cifar", "imagenet"] = "imagenet"

    def layout(self) -> dict[str, Shape]:
        """Keys conv1, bn1, layer1.0.conv1, ..., layer4.1.bn2, fc; layerN.0.downsample where the width changes."""
        assert self.in_channels is not None
        assert self.classes is not None
        kernel = 3 if self.stem == "cifar" else 7
        shapes: dict[str, Shape] = {"conv1.weight": (64, self.in_channels, kernel, kernel), **batch_norm("bn1", 64)}
        before = 64
        for stage, width in enumerate(RESNET_WIDTHS, start=1):
            for block in range(2):
                key = f"layer{stage}.{block}"
                shapes[f"{key}.conv1.weight"] = (width, before, 3, 3)
                shapes |= batch_norm(f"{key}.bn1", width)
                shapes[f"{key}.conv2.weight"] = (width, width, 3, 3)
                shapes |= batch_norm(f"{key}.bn2", width)
                if before != width:
                    shapes[f"{key}.downsample.0.weight"] = (width, before, 1, 1)
                    shapes |= batch_norm(f"{key}.downsample.1", width)
                before = width
        return shapes | affine("fc", self.classes, RESNET_WIDTHS[-1])


class WideResNet(ImageArchitecture):
    """[WRN] WRN-depth-widen: three groups of (depth - 4) / 6 blocks that normalise before they convolve."""

    name = "wideresnet"
    depth: Annotated[int, Field(strict=True, ge=10, le=1000)] = 28
    widen: Annotated[int, Field(strict=True, ge=1, le=100)] = 2

    @field_validator("depth")
    @classmethod
    def _whole_blocks(cls, depth: int) -> int:
        if depth % 6 != 4:
            raise ValueError("depth must be 6 n + 4: 10, 16, 22, 28, 34, 40, ...")
        return depth

    @property
    def blocks(self) -> int:
        """Blocks in each group."""
        return (self.depth - 4) // 6

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels of each group."""
        return 16 * self.widen, 32 * self.widen, 64 * self.widen

    def layout(self) -> dict[str, Shape]:
        """Keys conv1, block1.layer.0.bn1, ..., bn1, fc; block1.layer.0.convShortcut where the width changes."""
        assert self.in_channels is not None
        assert self.classes is not None
        shapes: dict[str, Shape] = {"conv1.weight": (16, self.in_channels, 3, 3)}
        before = 16
        for group, width in enumerate(self.widths, start=1):
            for block in range(self.blocks):
                key = f"block{group}.layer.{block}"
                shapes |= batch_norm(f"{key}.bn1", before)
                shapes[f"{key}.conv1.weight"] = (width, before, 3, 3)
                shapes |= batch_norm(f"{key}.bn2", width)
                shapes[f"{key}.conv2.weight"] = (width, width, 3, 3)
                if before != width:
                    shapes[f"{key}.convShortcut.weight"] = (width, before, 1, 1)
                before = width
        return shapes | batch_norm("bn1", before) | affine("fc", self.classes, before)
