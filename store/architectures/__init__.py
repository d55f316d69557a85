"""Architectures as layouts: which tensors, of which shapes, a checkpoint must hold.

Kept free of torch, so that the service can refuse a checkpoint before a worker ever sees it.
"""

from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from store.architectures.base import Architecture, LayoutError, Shape, Width, check_layout, is_counter
from store.architectures.packages import Packaged, Timm, Torchvision
from store.architectures.perceptrons import EmbeddingLinear, EmbeddingMlp, Mlp
from store.architectures.residual import ResNet18, WideResNet
from store.architectures.small import Cnn
from store.architectures.vgg import Vgg11

__all__ = [
    "ARCHITECTURES",
    "PACKAGES",
    "Architecture",
    "Cnn",
    "EmbeddingLinear",
    "EmbeddingMlp",
    "LayoutError",
    "Loss",
    "Mlp",
    "Packaged",
    "ResNet18",
    "Shape",
    "Timm",
    "Torchvision",
    "Vgg11",
    "WideResNet",
    "Width",
    "architecture",
    "check_layout",
    "is_counter",
    "known",
]

ARCHITECTURES: dict[str, type[Architecture]] = {
    kind.name: kind for kind in (Mlp, Cnn, ResNet18, Vgg11, WideResNet, EmbeddingLinear, EmbeddingMlp)
}
PACKAGES: dict[str, type[Packaged]] = {kind.name: kind for kind in (Timm, Torchvision)}
Loss = Literal["squared", "cross_entropy"]
_Kind = TypeVar("_Kind", bound=Architecture)


def known() -> str:
    """Every name there is, in words."""
    return ", ".join([*sorted(ARCHITECTURES), *(f"{package}:NAME" for package in sorted(PACKAGES))])


def architecture(name: str, options: dict[str, Any]) -> Architecture:
    """The options of a named architecture, checked. Raises LayoutError."""
    package, colon, model = name.partition(":")
    if colon and package in PACKAGES:
        return PACKAGES[package].named(model, _checked(name, PACKAGES[package], options))
    if name not in ARCHITECTURES:
        raise LayoutError(f"there is no architecture {name!r}; there are: {known()}")
    return _checked(name, ARCHITECTURES[name], options)


def _checked(name: str, kind: type[_Kind], options: dict[str, Any]) -> _Kind:
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        allowed = ", ".join(kind.model_fields)
        reason = first["msg"].removeprefix("Value error, ")
        raise LayoutError(f"{where}: {reason} ({name} takes: {allowed})") from error
