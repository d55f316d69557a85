"""Which of the service's architectures a torch module is, told by its layers and the shapes of its tensors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import nn

from lookahead.errors import UnknownArchitectureError
from store.architectures import LayoutError, Shape, architecture, check_layout

_STEMS = ("imagenet", "cifar")


@dataclass(frozen=True)
class Recognised:
    """An architecture, and which of the module's keys is which of the service's where they differ."""

    architecture: str
    options: dict[str, Any]
    renamed: dict[str, str] = field(default_factory=dict)


def recognised(model: nn.Module, input_shape: Shape | None) -> Recognised:
    """The architecture that the module's layers make up. Raises UnknownArchitectureError.

    `input_shape` is that of one item, where the caller knows it.
    """
    named = _of_timm(model)
    if named is not None:
        return named
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for candidate in (*_candidates(shapes, input_shape), *_perceptrons(model, input_shape)):
        if _fits(candidate, shapes):
            return candidate
    raise UnknownArchitectureError(
        f"{type(model).__name__} is none of the networks that are recognised by their layers: a chain of Linear and "
        "ReLU, the tutorial CNN, resnet18, wideresnet, vgg11, or one of timm's. Say which it is, "
        "architecture='torchvision:mobilenet_v2' for one, and its options; docs/networks.md lists them"
    )


def _of_timm(model: nn.Module) -> Recognised | None:
    about = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    name = about.get("architecture") if isinstance(about, Mapping) else None
    if name is None:
        return None
    convolution = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    options = {"classes": getattr(model, "num_classes", None)}
    if convolution is not None:
        options["in_channels"] = convolution.in_channels
    return Recognised(f"timm:{name}", {key: value for key, value in options.items() if value is not None})


def _candidates(shapes: Mapping[str, Shape], input_shape: Shape | None) -> Iterator[Recognised]:
    """What the names of the tensors suggest."""
    first, last = shapes.get("conv1.weight"), shapes.get("fc.weight")
    if first is not None and last is not None and len(first) == 4:
        options: dict[str, Any] = {"in_channels": first[1], "classes": last[0]}
        for stem in _STEMS:
            yield Recognised("resnet18", options | {"stem": stem})
        yield from _wide(shapes, options)
    if first is not None and "fc3.weight" in shapes and len(first) == 4:
        yield from _tutorial(shapes, first[1], input_shape)
    if "features.0.weight" in shapes:
        for stem, key in (("imagenet", "classifier.6.weight"), ("cifar", "classifier.weight")):
            if key in shapes:
                options = {"in_channels": shapes["features.0.weight"][1], "classes": shapes[key][0]}
                yield Recognised("vgg11", options | {"stem": stem, "batch_norm": "features.1.weight" in shapes})


def _wide(shapes: Mapping[str, Shape], options: dict[str, Any]) -> Iterator[Recognised]:
    blocks = sum(key.startswith("block1.layer.") and key.endswith(".conv1.weight") for key in shapes)
    if blocks and "block1.layer.0.conv1.weight" in shapes:
        widen = shapes["block1.layer.0.conv1.weight"][0] // 16
        yield Recognised("wideresnet", options | {"depth": 6 * blocks + 4, "widen": widen})


def _tutorial(shapes: Mapping[str, Shape], channels: int, input_shape: Shape | None) -> Iterator[Recognised]:
    classes = shapes["fc3.weight"][0]
    if input_shape is not None and len(input_shape) == 3:
        yield Recognised("cnn", {"input_shape": list(input_shape), "classes": classes})
        return
    fc1 = shapes.get("fc1.weight", (0, 0))
    after = round((fc1[-1] / 16) ** 0.5)
    # Several sides give the same number of features; the smallest even one is the customary: 28 and 32 among them.
    side = 4 * after + 12
    yield Recognised("cnn", {"input_shape": [channels, side, side], "classes": classes})


def _perceptrons(model: nn.Module, input_shape: Shape | None) -> Iterator[Recognised]:
    """A chain of linear layers, whatever they are called; whether ReLUs lie between, the outputs tell."""
    linear = [(name, layer) for name, layer in model.named_modules() if any(True for _ in layer.parameters(False))]
    names = [name for name, _ in linear]
    layers = [layer for _, layer in linear if isinstance(layer, nn.Linear) and layer.bias is not None]
    if not layers or len(layers) < len(linear):
        return
    _refuse_strangers(model)
    if any(before.out_features != after.in_features for before, after in pairwise(layers)):
        return
    widths = [layers[0].in_features, *(layer.out_features for layer in layers)]
    options = {"in_features": widths[0], "classes": widths[-1]}
    vectors = input_shape is not None and len(input_shape) == 1
    if len(layers) == 1 and (vectors or isinstance(model, nn.Linear)):
        yield Recognised("embedding:linear", options, _keys(names, [""]))
    # An mlp flattens, which does nothing to vectors: the right guess where the items' shape is not known.
    kind, first = ("embedding:mlp", 0) if vectors else ("mlp", 1)
    places = [str(first + 2 * depth) for depth in range(len(layers))]
    yield Recognised(kind, options | {"hidden": widths[1:-1]}, _keys(names, places))


def _keys(names: Sequence[str], places: Sequence[str]) -> dict[str, str]:
    return {
        ".".join(filter(None, (name, part))): ".".join(filter(None, (place, part)))
        for name, place in zip(names, places, strict=True)
        for part in ("weight", "bias")
    }


def _refuse_strangers(model: nn.Module) -> None:
    """Name the layer that no perceptron of the service has. Raises UnknownArchitectureError."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Softmax | nn.LogSoftmax):
            raise UnknownArchitectureError(
                f"layer {name!r} is {type(layer).__name__}: the service takes what comes before it. Leave the layer "
                "out, and say loss='cross_entropy'"
            )
        if type(layer).__module__ == "torch.nn.modules.activation" and not isinstance(layer, nn.ReLU):
            raise UnknownArchitectureError(
                f"layer {name!r} is {type(layer).__name__}, and the service's mlp has ReLU between its linear layers"
            )


def _fits(candidate: Recognised, shapes: Mapping[str, Shape]) -> bool:
    try:
        layout = architecture(candidate.architecture, candidate.options).layout()
        if layout is not None:
            check_layout(layout, {candidate.renamed.get(key, key): shape for key, shape in shapes.items()})
    except LayoutError:
        return False
    return True
