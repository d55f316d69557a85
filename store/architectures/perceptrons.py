"""Linear layers only: on items of any shape, and on feature vectors."""

import math
from itertools import pairwise
from typing import Any

from pydantic import Field

from store.architectures.base import Architecture, LayoutError, Shape, Width, affine


class Mlp(Architecture):
    """Flatten, then Linear and ReLU in turn, as one `torch.nn.Sequential`."""

    name = "mlp"
    in_features: Width | None = None
    hidden: list[Width] = Field(default=[256, 256], max_length=64)

    def layout(self) -> dict[str, Shape]:
        """Keys 1.weight, 1.bias, 3.weight, ...: the modules between are Flatten and ReLU."""
        return _linear_layers(self.widths(), first=1)

    def widths(self) -> list[int]:
        """From the inputs to the classes."""
        assert self.in_features is not None
        assert self.classes is not None
        return [self.in_features, *self.hidden, self.classes]

    def accepts(self, input_shape: Shape) -> bool:
        """Any shape with the right number of entries: the network flattens."""
        return math.prod(input_shape) == self.in_features

    def expects(self) -> str:
        """The items the network takes, in words."""
        return f"items of {self.in_features} numbers"

    def _inputs(self, input_shape: Shape | None) -> dict[str, Any]:
        if self.in_features is not None:
            return {}
        if input_shape is None:
            raise LayoutError("say in_features: the project has no pool yet to take it from")
        return {"in_features": math.prod(input_shape)}


class _Embedding(Architecture):
    """A head on feature vectors."""

    in_features: Width | None = None

    def accepts(self, input_shape: Shape) -> bool:
        """Vectors of the right length."""
        return input_shape == (self.in_features,)

    def expects(self) -> str:
        """The items the network takes, in words."""
        return f"feature vectors of shape [{self.in_features}]"

    def _inputs(self, input_shape: Shape | None) -> dict[str, Any]:
        if input_shape is None:
            if self.in_features is None:
                raise LayoutError("say in_features: the project has no pool yet to take it from")
            return {}
        if len(input_shape) != 1:
            raise LayoutError(f"{self.name} takes feature vectors [features], not items of {list(input_shape)}")
        return {"in_features": self.in_features or input_shape[0]}


class EmbeddingLinear(_Embedding):
    """One `torch.nn.Linear`."""

    name = "embedding:linear"

    def layout(self) -> dict[str, Shape]:
        """Keys weight and bias."""
        assert self.in_features is not None
        assert self.classes is not None
        return {"weight": (self.classes, self.in_features), "bias": (self.classes,)}


class EmbeddingMlp(_Embedding):
    """Linear and ReLU in turn, as one `torch.nn.Sequential`."""

    name = "embedding:mlp"
    hidden: list[Width] = Field(default=[256], max_length=64)

    def layout(self) -> dict[str, Shape]:
        """Keys 0.weight, 0.bias, 2.weight, ...: the modules between are ReLU. Vectors need no Flatten."""
        return _linear_layers(self.widths(), first=0)

    def widths(self) -> list[int]:
        """From the features to the classes."""
        assert self.in_features is not None
        assert self.classes is not None
        return [self.in_features, *self.hidden, self.classes]


def _linear_layers(widths: list[int], first: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for depth, (width_in, width_out) in enumerate(pairwise(widths)):
        shapes |= affine(str(first + 2 * depth), width_out, width_in)
    return shapes
