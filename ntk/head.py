"""Kernels of a perceptron head on frozen features, freshly initialised or infinitely wide.

Source: [CPL] "NTKCPL: Active Learning on Top of Self-Supervised Model by Estimating True Coverage", section 3.2.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from ntk.infinite import relu_ntk
from ntk.kernel import Items, Kernel, Tick, nothing
from ntk.kernels import KernelEngine
from ntk.products import mirror

Tensor = torch.Tensor
# x (N, ...) -> (N, D)
Features = Callable[[Items], Tensor]
Outputs = Callable[[Items], Tensor]


def flattened(x: Items) -> Tensor:
    """Items as they are, for pools of feature vectors."""
    return x[0 : len(x)].flatten(1)


def fresh_head(features: int, hidden: Sequence[int], classes: int, seed: int) -> nn.Module:
    """A ReLU perceptron with its initial weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise([features, *hidden]):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear([features, *hidden][-1], classes))


class HeadKernel(Kernel):
    """The tangent kernel of a freshly initialised head over features; outputs are the trained network's."""

    def __init__(
        self,
        features: Features,
        outputs: Outputs,
        *,
        hidden: Sequence[int] = (512,),
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self._features = features
        self._outputs = outputs
        self._hidden = hidden
        self._seed = seed
        self._dtype = dtype
        self._device = device
        self._engine: KernelEngine | None = None

    def outputs(self, x: Items) -> Tensor:
        """Network outputs (N, C), float64."""
        return self._outputs(x)

    def gram(self, x: Items, out: Tensor | None = None, on_tile: Tick = nothing) -> Tensor:
        """(N, N), as Kernel has it."""
        phi = self._features(x)
        return self._over(phi, x).gram(phi, out, on_tile)

    def cross(self, x: Items, z: Items, on_tile: Tick = nothing) -> Tensor:
        """(N, M), as Kernel has it."""
        phi, psi = self._features(x), self._features(z)
        return self._over(phi if len(x) else psi, x if len(x) else z).cross(phi, psi, on_tile)

    def _over(self, phi: Tensor, x: Items) -> KernelEngine:
        if self._engine is None:
            classes = self._outputs(x[0:1]).shape[1]
            head = fresh_head(phi.shape[1], self._hidden, classes, self._seed)
            self._engine = KernelEngine(head, dtype=self._dtype, device=self._device)
        return self._engine


class InfiniteHeadKernel(Kernel):
    """The tangent kernel of an infinitely wide head over features; outputs are the trained network's."""

    def __init__(self, features: Features, outputs: Outputs, *, depth: int = 1) -> None:
        """`depth` counts hidden layers."""
        self._features = features
        self._outputs = outputs
        self._depth = depth

    def outputs(self, x: Items) -> Tensor:
        """Network outputs (N, C), float64."""
        return self._outputs(x)

    def gram(self, x: Items, out: Tensor | None = None, on_tile: Tick = nothing) -> Tensor:
        """(N, N), as Kernel has it."""
        found = mirror(self.cross(x, x, on_tile))
        return found if out is None else out.copy_(found)

    def cross(self, x: Items, z: Items, on_tile: Tick = nothing) -> Tensor:
        """(N, M), as Kernel has it."""
        on_tile()
        if len(x) == 0 or len(z) == 0:
            return torch.zeros((len(x), len(z)), dtype=torch.float64)
        phi = self._features(x)
        return relu_ntk(phi, phi if z is x else self._features(z), self._depth)
