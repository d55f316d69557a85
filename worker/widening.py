"""A checkpoint's network for more classes than it was made for."""

import torch
from torch import nn

from store.architectures import LayoutError
from store.tables import Checkpoint
from worker.checkpoints import build, open_network
from worker.context import Context
from worker.errors import CheckpointError, JobError
from worker.training.standardise import unwrapped


def open_with_classes(context: Context, checkpoint: Checkpoint, classes: int) -> nn.Module:
    """The network with an output for each class; those that it was not made for are 0 everywhere.

    All other weights are the checkpoint's. Raises JobError `too_few_outputs` where the architecture does not allow it,
    CheckpointError, ArtifactMissingError.
    """
    module = open_network(context, checkpoint)
    known = int(checkpoint.options["classes"])
    if known >= classes:
        return module
    network = unwrapped(module)
    wider = _widened(network, checkpoint, known, classes)
    if network is module:
        return wider
    module.network = wider
    return module


def _widened(network: nn.Module, checkpoint: Checkpoint, known: int, classes: int) -> nn.Module:
    try:
        # Its initial weights are all replaced: the process's own random numbers are none of its business.
        with torch.random.fork_rng(devices=[]):
            wider = build(checkpoint.architecture, checkpoint.options | {"classes": classes})
    except (LayoutError, CheckpointError) as error:
        raise _too_few(known, classes) from error
    weights, wanted = network.state_dict(), wider.state_dict()
    if weights.keys() != wanted.keys():
        raise _too_few(known, classes)
    for key, place in wanted.items():
        given = weights[key]
        rows = given.shape[:1] == (known,) and place.shape == (classes, *given.shape[1:])
        if given.shape != place.shape and not rows:
            raise _too_few(known, classes)
        if given.shape != place.shape:
            weights[key] = torch.cat([given, given.new_zeros((classes - known, *given.shape[1:]))])
    wider.to(next(iter(network.parameters())).dtype)
    wider.load_state_dict(weights)
    return wider.eval()


def _too_few(known: int, classes: int) -> JobError:
    return JobError(
        "too_few_outputs",
        f"the active checkpoint has {known} outputs and the project {classes} classes, and its network cannot be given "
        f"more: train or upload a checkpoint with {classes} outputs",
    )
