"""From stored arrays to a posterior on the device."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ntk.factor import Factor
from ntk.posterior import Posterior
from store.tables import KernelPanel
from worker.context import Context

# Windows up to this many items keep kernel and covariance in float64 whatever the network's precision: scores are
# then as exact as the network's own numbers, for half a gigabyte each at the most and one slower pass per label.
DOUBLE_UP_TO = 8192


def precision(dtype: str, size: int) -> torch.dtype:
    """In which precision to keep the kernel and the covariance of a window of `size` items."""
    return torch.float64 if dtype == "float64" or size <= DOUBLE_UP_TO else torch.float32


def entry_bytes(dtype: str, size: int) -> int:
    """Bytes of an entry of kernel and covariance."""
    return precision(dtype, size).itemsize


def assemble(context: Context, panels: Sequence[KernelPanel]) -> torch.Tensor:
    """The symmetric Gram matrix (N, N) from its lower row panels, on the device. Raises ArtifactError."""
    size = panels[-1].row_stop
    matrix: torch.Tensor | None = None
    for panel in panels:
        block = torch.from_numpy(np.array(context.artifacts.array(panel.artifact, verify=True)))
        if matrix is None:
            matrix = torch.empty((size, size), dtype=block.dtype, device=context.device)
        block = block.to(context.device)
        matrix[panel.row_start : panel.row_stop, : panel.row_stop] = block
        matrix[: panel.row_start, panel.row_start : panel.row_stop] = block[:, : panel.row_start].mT
    assert matrix is not None
    return matrix


def posterior(
    context: Context,
    kernel: torch.Tensor,
    outputs: torch.Tensor,
    ridge: float,
    *,
    labeled: Sequence[int],
    classes: Sequence[int],
    candidates: Sequence[int],
    factor: Factor | None = None,
) -> Posterior:
    """The kernel model with these window indices labeled, in factor order."""

    def indices(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.long, device=context.device)

    return Posterior(
        kernel,
        outputs.to(context.device),
        ridge,
        labeled=indices(labeled),
        labels=indices(classes),
        candidates=indices(candidates),
        factor=factor,
    )


def accuracy(model: Posterior) -> float | None:
    """Leave-one-out accuracy, or None before the first label."""
    value = model.leave_one_out_accuracy()
    return None if math.isnan(value) else value


def predicted(outputs: torch.Tensor, known: int) -> torch.Tensor:
    """(q,) classes that the network itself predicts, of the `known` ones it has an output for; outputs (q, C)."""
    return outputs[:, :known].argmax(dim=1)


def share_unequal(now: torch.Tensor, before: torch.Tensor) -> float | None:
    """Share of items whose predicted class differs between two predictions (m,); None without items."""
    if len(now) == 0:
        return None
    return float((now != before).double().mean())


def to_list(values: torch.Tensor) -> list[Any]:
    """A tensor as plain Python numbers."""
    numbers: list[Any] = values.detach().cpu().tolist()
    return numbers
