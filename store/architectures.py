"""Built-in architectures as layouts: which tensors, of which shapes, a checkpoint must hold.

Kept free of torch, so that the service can refuse a checkpoint before a worker ever sees it.
"""

import math
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Shape = tuple[int, ...]
Width = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class LayoutError(ValueError):
    """The options describe no network, or a network that does not fit; the message says why."""


class Architecture(BaseModel):
    """Options of one architecture. `None` means: taken from the project (classes) or its pool (inputs)."""

    model_config = ConfigDict(extra="forbid")
    name: ClassVar[str]
    classes: Width | None = None

    def fitted(self, input_shape: Shape | None, classes: int) -> "Architecture":
        """These options with what was left out filled in. Raises LayoutError where they contradict."""
        if self.classes is not None and self.classes != classes:
            raise LayoutError(f"the checkpoint has {self.classes} classes and the project has {classes}")
        return self.model_copy(update={"classes": classes} | self._inputs(input_shape))

    def layout(self) -> dict[str, Shape]:
        """State-dict key -> shape. Only for fitted options."""
        raise NotImplementedError

    def accepts(self, input_shape: Shape) -> bool:
        """Whether an item of this shape can be fed to the network."""
        raise NotImplementedError

    def expects(self) -> str:
        """The items the network takes, in words."""
        raise NotImplementedError

    def _inputs(self, input_shape: Shape | None) -> dict[str, Any]:
        raise NotImplementedError


class Mlp(Architecture):
    """Flatten, then Linear and ReLU in turn, as one `torch.nn.Sequential`."""

    name = "mlp"
    in_features: Width | None = None
    hidden: list[Width] = Field(default=[256, 256], max_length=64)

    def layout(self) -> dict[str, Shape]:
        """Keys 1.weight, 1.bias, 3.weight, ...: the modules between are Flatten and ReLU."""
        assert self.in_features is not None
        assert self.classes is not None
        widths = [self.in_features, *self.hidden, self.classes]
        shapes: dict[str, Shape] = {}
        for depth, (width_in, width_out) in enumerate(pairwise(widths)):
            shapes[f"{2 * depth + 1}.weight"] = (width_out, width_in)
            shapes[f"{2 * depth + 1}.bias"] = (width_out,)
        return shapes

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


class Cnn(Architecture):
    """PyTorch's CIFAR-10 tutorial network: two 5x5 convolutions with pooling, three linear layers."""

    name = "cnn"
    input_shape: Annotated[list[Width], Field(min_length=3, max_length=3)] | None = None

    def layout(self) -> dict[str, Shape]:
        """Keys conv1, conv2, fc1, fc2, fc3, each with weight and bias."""
        assert self.input_shape is not None
        assert self.classes is not None
        channels, height, width = self.input_shape
        flat = 16 * self._after(height) * self._after(width)
        return {
            "conv1.weight": (6, channels, 5, 5),
            "conv1.bias": (6,),
            "conv2.weight": (16, 6, 5, 5),
            "conv2.bias": (16,),
            "fc1.weight": (120, flat),
            "fc1.bias": (120,),
            "fc2.weight": (84, 120),
            "fc2.bias": (84,),
            "fc3.weight": (self.classes, 84),
            "fc3.bias": (self.classes,),
        }

    def accepts(self, input_shape: Shape) -> bool:
        """Exactly (channels, height, width)."""
        return list(input_shape) == self.input_shape

    def expects(self) -> str:
        """The items the network takes, in words."""
        return f"items of shape {self.input_shape}"

    @staticmethod
    def _after(size: int) -> int:
        """Side length after conv 5, pool 2, conv 5, pool 2."""
        return ((size - 4) // 2 - 4) // 2

    def _inputs(self, input_shape: Shape | None) -> dict[str, Any]:
        shape = self.input_shape or (list(input_shape) if input_shape is not None else None)
        if shape is None:
            raise LayoutError("say input_shape: the project has no pool yet to take it from")
        if len(shape) != 3 or min(self._after(side) for side in shape[1:]) < 1:
            raise LayoutError(
                f"a cnn takes items of shape [channels, height, width] with sides of at least 16, not {shape}"
            )
        return {"input_shape": shape}


ARCHITECTURES: dict[str, type[Architecture]] = {kind.name: kind for kind in (Mlp, Cnn)}
Loss = Literal["squared", "cross_entropy"]


def architecture(name: str, options: dict[str, Any]) -> Architecture:
    """The options of a named architecture, checked. Raises LayoutError."""
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise LayoutError(f"there is no architecture {name!r}; there are: {known}")
    try:
        return ARCHITECTURES[name].model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        allowed = ", ".join(ARCHITECTURES[name].model_fields)
        raise LayoutError(f"{where}: {first['msg']} ({name} takes: {allowed})") from error


def check_layout(expected: dict[str, Shape], found: dict[str, Shape]) -> None:
    """Raise LayoutError, naming the first difference, unless both hold the same tensors."""
    for key, shape in expected.items():
        if key not in found:
            raise LayoutError(f"tensor {key!r} of shape {list(shape)} is missing")
        if tuple(found[key]) != shape:
            raise LayoutError(f"tensor {key!r} has shape {list(found[key])}, and {list(shape)} is needed")
    if extra := sorted(set(found) - set(expected)):
        raise LayoutError(f"tensor {extra[0]!r} is not part of the architecture")
