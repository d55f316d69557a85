"""Networks of other packages, by name: what they are made of is known where the package is, in the worker."""

import re
from typing import Any, ClassVar, Self

from pydantic import PrivateAttr

from store.architectures.base import ImageArchitecture, LayoutError, Shape

_MODEL = re.compile(r"[A-Za-z0-9_.]+")


class Packaged(ImageArchitecture):
    """One network of a package."""

    package: ClassVar[str]
    _model: str = PrivateAttr(default="")

    @classmethod
    def named(cls, model: str, options: Self) -> Self:
        """These options, for this network of the package. Raises LayoutError."""
        if not _MODEL.fullmatch(model):
            raise LayoutError(
                f"{cls.name}:{model} names no network: after {cls.name}: come letters, digits, underscores and dots"
            )
        options._model = model
        return options

    @property
    def model(self) -> str:
        """The network's name in its package."""
        return self._model

    def layout(self) -> dict[str, Shape] | None:
        """Known to the worker only, which has the package."""
        return None


class Timm(Packaged):
    """A network that `timm.create_model` makes."""

    name = package = "timm"


class Torchvision(Packaged):
    """A classifier that `torchvision.models.get_model` makes; they all take colour images."""

    name = package = "torchvision"

    def _inputs(self, input_shape: Shape | None) -> dict[str, Any]:
        inputs = super()._inputs((3, 1, 1) if input_shape is None else input_shape)
        if inputs["in_channels"] != 3:
            raise LayoutError(f"torchvision's networks take images of 3 channels, not {inputs['in_channels']}")
        return inputs
