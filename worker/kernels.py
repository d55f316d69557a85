"""From a project's kernel options and a checkpoint to a kernel, and the pool's items as it reads them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ntk.features import LastLayerKernel, ProjectedKernel
from ntk.head import HeadKernel, InfiniteHeadKernel
from ntk.kernel import Items, Kernel
from ntk.kernels import KernelEngine
from ntk.penultimate import Penultimate
from store import pools
from store.tables import Checkpoint, Json
from worker.checkpoints import open_network
from worker.context import Context

# Dimensions of a projection that says none.
_DIMENSIONS = 4096


def open_kernel(context: Context, checkpoint: Checkpoint, options: Json) -> Kernel:
    """The kernel over the checkpoint's network.

    Raises CheckpointError, ArtifactMissingError, UnsupportedNetworkError.
    """
    dtype = torch.float64 if options["dtype"] == "float64" else torch.float32
    module = open_network(context, checkpoint)
    kind = options["kind"]
    if kind == "last_layer":
        return LastLayerKernel(module, dtype=dtype, device=context.device)
    if kind == "head":
        head = options.get("head") or {}
        penultimate = Penultimate(module, dtype=dtype, device=context.device)
        hidden = head.get("hidden", [512])
        if head.get("infinite", False):
            return InfiniteHeadKernel(penultimate, penultimate.outputs, depth=len(hidden))
        return HeadKernel(
            penultimate,
            penultimate.outputs,
            hidden=hidden,
            seed=int(options["seed"]),
            dtype=dtype,
            device=context.device,
        )
    engine = KernelEngine(
        module,
        kind="single_logit" if kind == "single_logit" else "pntk",
        dtype=dtype,
        device=context.device,
        memory_bytes=context.kernel_bytes,
        precision=options.get("products") or "auto",
    )
    projection = options.get("projection")
    if kind == "projected" or projection:
        return ProjectedKernel(engine, (projection or {}).get("dim", _DIMENSIONS), seed=int(options["seed"]))
    return engine


def described(kernel: Kernel, x: Items) -> Json | None:
    """Which parameter goes which way, for the job's record; None where the kernel is not made of parameters."""
    engine = kernel.engine if isinstance(kernel, ProjectedKernel) else kernel
    if not isinstance(engine, KernelEngine):
        return None
    found = engine.coverage(x)
    forms: dict[str, int] = {}
    for part in found.parts:
        forms[part.form] = forms.get(part.form, 0) + part.size
    return {
        "parameters_by_form": forms,
        "per_example": found.per_example,
        "unused": list(found.unused),
        "multiplications_per_entry": found.multiplications,
    }


@dataclass(frozen=True)
class PoolItems:
    """Inputs of the items at some positions of the pool, read from the artifacts by the slice."""

    context: Context
    chunks: list[pools.Chunk]
    positions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: slice, /) -> torch.Tensor:
        """(n, ...) on the CPU, as floating-point numbers. Raises ArtifactMissingError."""
        read = torch.from_numpy(pools.read_inputs(self.context.artifacts, self.chunks, self.positions[rows]))
        return read if read.is_floating_point() else read.to(torch.float32)
