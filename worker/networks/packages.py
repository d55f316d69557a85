"""Networks of other packages, where these are installed. Their weights are the upload's: nothing is downloaded."""

import importlib
from collections.abc import Callable
from types import ModuleType

from torch import nn

from store.architectures import Packaged, Timm, Torchvision
from worker.errors import CheckpointError


def timm(options: Timm) -> nn.Module:
    """The network that timm has under this name. Raises CheckpointError."""
    package = _imported(options, "timm")
    if not package.is_model(options.model):
        raise _unknown(options, "timm.list_models()")
    return _made(
        options,
        lambda: package.create_model(
            options.model, pretrained=False, num_classes=options.classes, in_chans=options.in_channels
        ),
    )


def torchvision(options: Torchvision) -> nn.Module:
    """The classifier that torchvision has under this name. Raises CheckpointError."""
    models = _imported(options, "torchvision.models")
    # Only those of this module: detectors and segmenters would fetch weights for their backbones.
    if options.model not in models.list_models(module=models):
        raise _unknown(options, "torchvision.models.list_models(module=torchvision.models)")
    return _made(options, lambda: models.get_model(options.model, weights=None, num_classes=options.classes))


def _imported(options: Packaged, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        # RuntimeError: installed for another torch than this one.
        raise CheckpointError(
            f"{_named(options)} needs the package {options.package} where the worker runs, and it cannot be imported "
            f"({error}): install the extra, pip install 'lookahead[vision]'"
        ) from error


def _made(options: Packaged, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{options.package} does not make {options.model!r} with {options.classes} classes and "
            f"{options.in_channels} input channels: {error}"
        ) from error


def _unknown(options: Packaged, listing: str) -> CheckpointError:
    return CheckpointError(f"the worker's {options.package} has no network {options.model!r}: {listing} has the names")


def _named(options: Packaged) -> str:
    return f"{options.name}:{options.model}"
