"""VGG with eleven layers.

Source: [VGG] Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
configuration A.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import StrictBool

from store.architectures.base import ImageArchitecture, Shape, affine, batch_norm

# Channels of each convolution; 0 is a pooling.
PLAN = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
HIDDEN = 4096
POOLED = 7


class Vgg11(ImageArchitecture):
    """[VGG] under torchvision's keys; for small images with one linear layer in place of three."""

    name = "vgg11"
    smallest: ClassVar[int] = 32
    stem: Literal["cifar", "imagenet"] = "imagenet"
    batch_norm: StrictBool = False

    def convolutions(self) -> Iterator[tuple[int, int, int]]:
        """(place in `features`, channels in, channels out) of each convolution."""
        assert self.in_channels is not None
        place, before = 0, self.in_channels
        for width in PLAN:
            if width == 0:
                place += 1
                continue
            yield place, before, width
            # The convolution, perhaps its normalisation, and the ReLU.
            place, before = place + (3 if self.batch_norm else 2), width

    def layout(self) -> dict[str, Shape]:
        """Keys features.0, features.3, ...; classifier.0, .3, .6 for "imagenet", classifier for "cifar"."""
        assert self.classes is not None
        shapes: dict[str, Shape] = {}
        for place, before, width in self.convolutions():
            shapes |= affine(f"features.{place}", width, before, 3, 3)
            if self.batch_norm:
                shapes |= batch_norm(f"features.{place + 1}", width)
        if self.stem == "cifar":
            return shapes | affine("classifier", self.classes, PLAN[-2])
        return (
            shapes
            | affine("classifier.0", HIDDEN, PLAN[-2] * POOLED**2)
            | affine("classifier.3", HIDDEN, HIDDEN)
            | affine("classifier.6", self.classes, HIDDEN)
        )
