"""Checkpoints: bytes to a module, safely. What may be a pickle is turned into safetensors elsewhere, once."""

from pathlib import Path

import sqlalchemy as sa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from store.architectures import LayoutError, architecture, check_layout, is_counter
from store.tables import Checkpoint, Json
from worker import conversion
from worker.context import Context
from worker.errors import CheckpointError
from worker.networks import build, module_of
from worker.training.loss_prediction import LossPredictor, loss_predictor
from worker.training.standardise import standardised

__all__ = ["build", "load", "open_loss_predictor", "open_network"]

Tensors = dict[str, torch.Tensor]
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def open_network(context: Context, checkpoint: Checkpoint) -> nn.Module:
    """The checkpoint as a module. A state dict of torch.save is kept as safetensors from then on.

    Raises CheckpointError, ArtifactError.
    """
    weights = context.artifacts.verified(_current_weights(context, checkpoint))
    if not conversion.is_archive(weights):
        return _with_input(context, checkpoint, load(checkpoint.architecture, checkpoint.options, weights))
    with conversion.converted(weights) as safetensors:
        module = load(checkpoint.architecture, checkpoint.options, safetensors)
        with safetensors.open("rb") as file:
            artifact = context.artifacts.put_file(file)
    # The archive stays in the storage: another job may be reading it, or another project's checkpoint be made of it.
    with context.sessions.begin() as session:
        session.execute(sa.update(Checkpoint).where(Checkpoint.id == checkpoint.id).values(weights=artifact))
    return module


def _with_input(context: Context, checkpoint: Checkpoint, module: nn.Module) -> nn.Module:
    """The network behind the standardisation of inputs that it was trained with, if it was."""
    artifact = checkpoint.extras.get("standardisation")
    if artifact is None:
        return module
    tensors = load_file(context.artifacts.verified(artifact))
    return standardised(module, tensors["mean"], tensors["scale"]).eval()


def open_loss_predictor(context: Context, checkpoint: Checkpoint, module: nn.Module) -> LossPredictor | None:
    """The module that was trained to predict the losses of this network, `module`; None if there is none."""
    kept = checkpoint.extras.get("loss_predictor")
    if kept is None:
        return None
    sample = torch.zeros((1, *kept["input_shape"]), dtype=next(module.parameters()).dtype)
    predictor = loss_predictor(module, sample)
    predictor.load_state_dict(load_file(context.artifacts.verified(kept["artifact"])))
    return predictor.eval()


def _current_weights(context: Context, checkpoint: Checkpoint) -> str:
    """Read again: another job may have converted them since the row was."""
    with context.sessions.begin() as session:
        return session.scalars(sa.select(Checkpoint.weights).where(Checkpoint.id == checkpoint.id)).one()


def load(name: str, options: Json, weights: Path) -> nn.Module:
    """The checkpoint as a module in eval mode, on the CPU. Raises CheckpointError."""
    if conversion.is_archive(weights):
        with conversion.converted(weights) as safetensors:
            return load(name, options, safetensors)
    try:
        fitted = architecture(name, options)
        tensors = load_file(weights)
        layout, shapes = fitted.layout(), {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        # Before the module is made: options that promise far more than the file holds cost nothing.
        if layout is not None:
            check_layout(layout, shapes)
        module = module_of(fitted)
        if layout is None:
            check_layout({key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}, shapes)
    except (LayoutError, SafetensorError) as error:
        raise CheckpointError(f"the weights do not fit {name}: {error}") from error
    _fill(module, tensors)
    return module.eval()


def _fill(module: nn.Module, tensors: Tensors) -> None:
    """Put the tensors in, at the precision of the most precise. Raises CheckpointError."""
    own: Tensors = module.state_dict()
    for key, tensor in tensors.items():
        _check_numbers(key, tensor, own[key])
    # A float64 checkpoint keeps its digits; the kernel engine converts as the kernel's dtype asks.
    dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors.values()) else torch.float32
    module.to(dtype)
    module.load_state_dict({key: tensors.get(key, value).to(value.dtype) for key, value in module.state_dict().items()})


def _check_numbers(key: str, tensor: torch.Tensor, own: torch.Tensor) -> None:
    if tensor.dtype not in _FLOATS and (own.is_floating_point() or tensor.dtype.is_complex):
        raise CheckpointError(
            f"tensor {key!r} is {_plain(tensor.dtype)}; weights are float16, bfloat16, float32 or float64"
        )
    if not own.is_floating_point() and tensor.dtype in _FLOATS and not is_counter(key):
        raise CheckpointError(f"tensor {key!r} is {_plain(tensor.dtype)}, and {_plain(own.dtype)} is needed")
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"tensor {key!r} has NaN or infinite entries")


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
