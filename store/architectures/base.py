"""What every architecture says of itself, and layouts in pieces."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Shape = tuple[int, ...]
Width = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]

_COUNTER = "num_batches_tracked"


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

    def layout(self) -> dict[str, Shape] | None:
        """State-dict key -> shape, buffers included; None where only the worker can tell. For fitted options."""
        raise NotImplementedError

    def accepts(self, input_shape: Shape) -> bool:
        """Whether an item of this shape can be fed to the network."""
        raise NotImplementedError

    def expects(self) -> str:
        """The items the network takes, in words."""
        raise NotImplementedError

    def _inputs(self, input_shape: Shape | None) -> dict[str, Any]:
        raise NotImplementedError


class ImageArchitecture(Architecture):
    """A network that takes images (channels, height, width) of any size from `smallest` on."""

    smallest: ClassVar[int] = 1
    in_channels: Width | None = None

    def accepts(self, input_shape: Shape) -> bool:
        """Images with the right number of channels, not too small to be pooled."""
        return len(input_shape) == 3 and input_shape[0] == self.in_channels and min(input_shape[1:]) >= self.smallest

    def expects(self) -> str:
        """The items the network takes, in words."""
        sides = "" if self.smallest == 1 else f" with sides of at least {self.smallest}"
        return f"images of shape [{self.in_channels}, height, width]{sides}"

    def _inputs(self, input_shape: Shape | None) -> dict[str, Any]:
        if input_shape is None:
            if self.in_channels is None:
                raise LayoutError("say in_channels: the project has no pool yet to take it from")
            return {}
        if len(input_shape) != 3:
            raise LayoutError(f"{self.name} takes images [channels, height, width], not items of {list(input_shape)}")
        return {"in_channels": self.in_channels or input_shape[0]}


def affine(key: str, *weight: int) -> dict[str, Shape]:
    """A layer with a weight of this shape and a bias as long as its first side."""
    return {f"{key}.weight": weight, f"{key}.bias": weight[:1]}


def batch_norm(key: str, width: int) -> dict[str, Shape]:
    """A batch normalisation: scale, shift, running statistics, and the count of batches they saw."""
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{key}.{part}": (width,) for part in parts} | {f"{key}.{_COUNTER}": ()}


def is_counter(key: str) -> bool:
    """Whether the key counts the batches of a batch normalisation: an integer, and not needed to evaluate it."""
    return key.rpartition(".")[2] == _COUNTER


def check_layout(expected: dict[str, Shape], found: dict[str, Shape]) -> None:
    """Raise LayoutError, naming the first difference, unless both hold the same tensors. Counters may be missing."""
    for key, shape in expected.items():
        if key not in found:
            if is_counter(key):
                continue
            raise LayoutError(f"tensor {key!r} of shape {list(shape)} is missing")
        if tuple(found[key]) != shape:
            raise LayoutError(f"tensor {key!r} has shape {list(found[key])}, and {list(shape)} is needed")
    if extra := sorted(set(found) - set(expected)):
        raise LayoutError(f"tensor {extra[0]!r} is not part of the architecture")
