"""A trained torch module as a checkpoint of the service, checked to be the same network there."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from api_schemas.jobs import Job
from client.errors import MissingPackageError
from client.sdk import Client
from lookahead.errors import CheckpointMismatchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from lookahead.recognise import Recognised

    Inputs = torch.Tensor | npt.NDArray[np.generic]

_WEIGHTS = "weights.safetensors"
_RANDOM_ITEMS = 4
_SIDES = {"small": 32, "large": 64, "packaged": 224}  # of a random image, by what kind of network takes it


@dataclass(frozen=True)
class SavedCheckpoint:
    """What was saved, and how well the rebuilt network agrees with the model."""

    manifest: dict[str, Any]  # architecture, options, and loss and kernel where given
    weights: Path | None  # the file, where a path was asked for
    difference: float  # the largest one of the outputs, as a share of their scale
    job: Job | None  # prepares it, where it was uploaded


def save_checkpoint(
    model: "torch.nn.Module",
    to: "Path | str | Client",
    project: str | None = None,
    *,
    architecture: str | None = None,
    options: Mapping[str, Any] | None = None,
    inputs: "Inputs | None" = None,
    outputs: "Inputs | None" = None,
    loss: Literal["squared", "cross_entropy"] | None = None,
    kernel: Mapping[str, Any] | None = None,
    wait: bool = True,
    on_progress: Callable[[Job], None] | None = None,
) -> SavedCheckpoint:
    """Save a module for the service: into a .safetensors file with its manifest beside it, or into a project.

    The architecture is recognised by the module's layers unless you name it. The weights are then read back, and the
    network made of them as a worker does it; its outputs are compared with the model's, for `inputs` (N, ...) or for
    random ones, and with `outputs` (N, C) where you give those that you expect. With a client the weights go to
    `project`, and `wait` waits until they are active.

    Raises UnknownArchitectureError, CheckpointMismatchError with the key or layer that differs, MissingPackageError
    without torch, and what the client raises.
    """
    if isinstance(to, Client) and project is None:
        raise ValueError("say which project the checkpoint is for: save_checkpoint(model, client, 'name')")
    if not isinstance(to, Client) and project is not None:
        raise ValueError("a project goes with a client: save_checkpoint(model, client, project)")
    with tempfile.TemporaryDirectory() as folder:
        found, difference = _saved(model, Path(folder), architecture, options, inputs, outputs)
        manifest: dict[str, Any] = {"architecture": found.architecture, "options": found.options}
        manifest |= {name: value for name, value in (("loss", loss), ("kernel", kernel)) if value is not None}
        made = Path(folder) / _WEIGHTS
        if isinstance(to, Client):
            assert project is not None
            job = to.upload_checkpoint(project, made, **manifest)
            return SavedCheckpoint(manifest, None, difference, to.wait_for(job, on_progress) if wait else job)
        weights = Path(to)
        shutil.copyfile(made, weights)
    weights.with_suffix(".json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return SavedCheckpoint(manifest, weights, difference, None)


def _saved(
    model: "torch.nn.Module",
    folder: Path,
    architecture: str | None,
    options: Mapping[str, Any] | None,
    inputs: "Inputs | None",
    outputs: "Inputs | None",
) -> "tuple[Recognised, float]":
    """Write the weights into the folder; (what they are, how well the rebuilt network agrees)."""
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        raise MissingPackageError("saving a checkpoint", "torch", extra="worker") from error
    from lookahead import compare

    compare.check_mode(model)
    given = None if inputs is None else torch.as_tensor(inputs)
    found = _described(model, None if given is None else tuple(given.shape[1:]), architecture, options)
    tensors = {
        found.renamed.get(key, key): value.detach().to("cpu").contiguous().clone()
        for key, value in model.state_dict().items()
    }
    path = folder / _WEIGHTS
    save_file(tensors, path)
    rebuilt = _rebuilt(found, path)
    if given is None:
        seeded = torch.Generator().manual_seed(0)
        given = torch.rand((_RANDOM_ITEMS, *_item_shape(found)), generator=seeded)
    difference = compare.largest_difference(model, rebuilt, given, found.renamed)
    if outputs is not None:
        compare.check_outputs(rebuilt, given, torch.as_tensor(outputs))
    return found, difference


def _described(
    model: "torch.nn.Module",
    input_shape: Sequence[int] | None,
    architecture: str | None,
    options: Mapping[str, Any] | None,
) -> "Recognised":
    from lookahead.recognise import Recognised, recognised
    from store.architectures import LayoutError
    from store.architectures import architecture as described

    shape = None if input_shape is None else tuple(input_shape)
    if architecture is None:
        if options is not None:
            raise ValueError("options belong to an architecture: name it too")
        return recognised(model, shape)
    options = dict(options or {})
    try:
        asked = described(architecture, options)
        classes = asked.classes or _classes(model)
        return Recognised(architecture, options | asked.fitted(shape, classes).model_dump(exclude_none=True))
    except LayoutError as error:
        advice = "" if shape is not None else "; or give inputs=, some items to compare with"
        raise CheckpointMismatchError(f"as {architecture}: {error}{advice}") from error


def _classes(model: "torch.nn.Module") -> int:
    """The outputs of the last layer."""
    return int([value.shape[0] for value in model.state_dict().values() if value.ndim > 0][-1])


def _rebuilt(found: "Recognised", weights: Path) -> "torch.nn.Module":
    """The network as a worker makes it. Raises CheckpointMismatchError."""
    from worker.checkpoints import load
    from worker.errors import CheckpointError

    try:
        return load(found.architecture, found.options, weights)
    except CheckpointError as error:
        raise CheckpointMismatchError(f"as {found.architecture} with {found.options}: {error}") from error


def _item_shape(found: "Recognised") -> tuple[int, ...]:
    """The shape of an item that the network takes."""
    options = found.options
    if options.get("in_features") is not None:
        return (options["in_features"],)
    if options.get("input_shape") is not None:
        return tuple(options["input_shape"])
    small = options.get("stem") == "cifar" or found.architecture == "wideresnet"
    side = _SIDES["small" if small else "packaged" if ":" in found.architecture else "large"]
    return (options.get("in_channels") or 3, side, side)
