"""Two modules that should be one network: where the outputs differ, which layer is the first to."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from lookahead.errors import CheckpointMismatchError

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}  # of the outputs' own scale
_EXPECTED_TOLERANCE = 1e-3  # outputs from elsewhere may have been computed with less care
_BY_MODE = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
)


@dataclass(frozen=True)
class _Seen:
    """What went into a layer and what came out, as one run has it."""

    before: torch.Tensor
    after: torch.Tensor


def check_mode(model: nn.Module) -> None:
    """Raise CheckpointMismatchError where a layer does not behave as it will in the service."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
            raise CheckpointMismatchError(
                f"layer {name!r} normalises by the batch it sees and keeps no running statistics, which the service "
                "needs: make it with track_running_stats=True and train it"
            )
        if layer.training and isinstance(layer, _BY_MODE):
            raise CheckpointMismatchError(
                f"the model is in training mode, in which layer {name!r} ({type(layer).__name__}) gives other outputs "
                "than in the service: call model.eval() before saving"
            )


def largest_difference(
    model: nn.Module, rebuilt: nn.Module, inputs: torch.Tensor, renamed: Mapping[str, str]
) -> float:  # inputs: (N, ...)
    """The largest difference of their outputs, as a share of the outputs' scale.

    Compares in float64, or in float32 where the module's own code insists on that. Raises CheckpointMismatchError
    naming the first layer that differs.
    """
    try:
        mine, here = _run(model, inputs, torch.float64)
        dtype = torch.float64
    except RuntimeError:
        mine, here = _run(model, inputs, torch.float32)
        dtype = torch.float32
    try:
        theirs, there = _run(rebuilt, inputs, dtype)
    except RuntimeError as error:
        raise CheckpointMismatchError(
            f"the network that the service makes does not take these inputs: {error}"
        ) from error
    if mine.shape != theirs.shape:
        raise CheckpointMismatchError(
            f"for {len(inputs)} items the model gives outputs of shape {list(mine.shape)}, and the network that the "
            f"service makes {list(theirs.shape)}: outputs are one number for each class"
        )
    difference = _difference(mine, theirs)
    if difference > TOLERANCE[dtype]:
        raise CheckpointMismatchError(_first_difference(here, there, renamed, TOLERANCE[dtype], difference))
    return difference


def check_outputs(rebuilt: nn.Module, inputs: torch.Tensor, expected: torch.Tensor) -> None:
    """Raise CheckpointMismatchError unless the network gives these outputs (N, C), to float32's digits."""
    outputs, _ = _run(rebuilt, inputs, torch.float64)
    expected = expected.to("cpu", torch.float64)
    if outputs.shape != expected.shape:
        raise CheckpointMismatchError(
            f"the outputs you expect have shape {list(expected.shape)}, and the network's {list(outputs.shape)}"
        )
    difference = _difference(outputs, expected)
    if difference <= _EXPECTED_TOLERANCE:
        return
    remedy = "look for what else your own pipeline does to the inputs or the outputs"
    for words, scaled in (("divided by 255", inputs / 255), ("multiplied by 255", inputs * 255)):
        if _difference(_run(rebuilt, scaled, torch.float64)[0], expected) <= _EXPECTED_TOLERANCE:
            remedy = f"they agree with the inputs {words}: upload items scaled that way"
    raise CheckpointMismatchError(
        f"the network gives other outputs than you expect (by {difference:.2g} of their scale); {remedy}"
    )


def _run(model: nn.Module, inputs: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, dict[str, _Seen]]:
    """(outputs, what each layer with parameters saw, in the order of the run); the model stays as it is."""
    copy = deepcopy(model).to("cpu", dtype).eval()
    seen: dict[str, _Seen] = {}

    def keep(name: str, before: tuple[object, ...], after: object) -> None:
        if name not in seen and before and isinstance(before[0], torch.Tensor) and isinstance(after, torch.Tensor):
            # Layers may work in place on what they are given.
            seen[name] = _Seen(before[0].clone(), after.clone())

    for name, layer in copy.named_modules():
        if any(True for _ in layer.parameters(recurse=False)):
            layer.register_forward_hook(lambda _, before, after, name=name: keep(name, before, after))
    with torch.no_grad():
        outputs = copy(inputs.to("cpu", dtype))
    if not isinstance(outputs, torch.Tensor):
        raise CheckpointMismatchError(
            f"the model answers with {type(outputs).__name__}: it has to give one tensor (items, classes)"
        )
    return outputs, seen


def _difference(mine: torch.Tensor, theirs: torch.Tensor) -> float:
    if mine.shape != theirs.shape:
        mine, theirs = mine.flatten(1), theirs.flatten(1)
        if mine.shape != theirs.shape:
            return float("inf")
    if not bool(torch.isfinite(mine).all()):
        raise CheckpointMismatchError("the model's outputs are not all finite: a NaN or an overflow in its weights?")
    scale = max(float(mine.abs().max()), float(theirs.abs().max()), 1e-12)
    return float((mine - theirs).abs().max()) / scale


def _first_difference(
    here: Mapping[str, _Seen], there: Mapping[str, _Seen], renamed: Mapping[str, str], tolerance: float, whole: float
) -> str:
    begun = f"the network that the service makes of these weights gives other outputs (by {whole:.2g} of their scale)"
    for number, (name, mine) in enumerate(here.items()):
        place = renamed.get(f"{name}.weight", f"{name}.weight").removesuffix("weight").removesuffix(".")
        theirs = there.get(place)
        called = f"layer {name!r}" + (f" ({place!r} there)" if place != name else "")
        if theirs is None:
            return f"{begun}: it has no {called}"
        if _difference(mine.before, theirs.before) > tolerance:
            if number == 0:
                return (
                    f"{begun}: the model changes what it is given before {called}{_scaling(mine, theirs)}. The service "
                    "gives it items as they are: scale them before the upload, and leave the scaling out of the model"
                )
            return (
                f"{begun}: what goes into {called} differs, so the model does something else before it (another "
                "activation, a skip, a pooling)"
            )
        if _difference(mine.after, theirs.after) > tolerance:
            return (
                f"{begun}: {called} computes something else from the same inputs (its stride, padding, eps or groups)"
            )
    return f"{begun}: every layer agrees, so the model does something after the last one (a softmax, a scaling)"


def _scaling(mine: _Seen, theirs: _Seen) -> str:
    """By how much the inputs are scaled and shifted, where it is that simple."""
    if mine.before.shape != theirs.before.shape and mine.before.flatten(1).shape != theirs.before.flatten(1).shape:
        return ""
    y, x = mine.before.flatten(), theirs.before.flatten()
    spread = x - x.mean()
    if float(spread.square().sum()) == 0:
        return ""
    factor = float((spread * (y - y.mean())).sum() / spread.square().sum())
    shift = float(y.mean() - factor * x.mean())
    close = float((factor * x + shift - y).abs().max()) <= 1e-4 * max(float(y.abs().max()), 1e-12)
    return f" (it multiplies by {factor:.4g} and adds {shift:.4g})" if close else ""
