"""Kernels with explicit features φ(x) of moderate size: K = φφᵀ.

Sources: [NPC] "A Neural Pre-Conditioning Active Learning Algorithm to Reduce Label Complexity", section 3.4 (the last
layer's kernel); [TH] "Insights From Infinitely Wide Neural Networks", section 3.2, through a sparse sign map.
"""

import hashlib
from abc import abstractmethod

import torch
from torch import nn

from ntk.errors import NonFiniteError
from ntk.forms.base import Form, Parts
from ntk.kernel import Items, Kernel, Tick, nothing
from ntk.kernels import KernelEngine
from ntk.penultimate import Penultimate
from ntk.products import mirror

Tensor = torch.Tensor

# Columns of per-example gradients that are mapped at a time. A constant: the map must not depend on the tiles.
_PIECE = 1 << 18


class FeatureKernel(Kernel):
    """K = φφᵀ; N × K numbers are held, never N × P."""

    @abstractmethod
    def features(self, x: Items, on_tile: Tick = nothing) -> Tensor:
        """φ(x), (N, K), float64."""

    def gram(self, x: Items, out: Tensor | None = None, on_tile: Tick = nothing) -> Tensor:
        """(N, N), as Kernel has it."""
        phi = self.features(x, on_tile)
        found: Tensor = mirror(phi @ phi.mT)
        if not bool(torch.isfinite(found).all()):
            raise NonFiniteError("the kernel has entries that are not finite")
        return found if out is None else out.copy_(found)

    def cross(self, x: Items, z: Items, on_tile: Tick = nothing) -> Tensor:
        """(N, M), as Kernel has it."""
        if len(x) == 0 or len(z) == 0:
            return self.features(x).new_zeros((len(x), len(z))) if len(x) else self.features(z).new_zeros((0, len(z)))
        return self.features(x, on_tile) @ self.features(z, on_tile).mT


class LastLayerKernel(FeatureKernel):
    """C·(h·h' + 1), with h the input of the last linear layer: the trace of that layer's block of the kernel."""

    def __init__(
        self, module: nn.Module, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
    ) -> None:
        """Raises UnsupportedNetworkError."""
        self._penultimate = Penultimate(module, dtype=dtype, device=device)

    def outputs(self, x: Items) -> Tensor:
        """Network outputs (N, C), float64."""
        return self._penultimate.outputs(x)

    def features(self, x: Items, on_tile: Tick = nothing) -> Tensor:
        """√C·(h, 1), (N, d + 1); without the 1 where the layer has no bias. Raises UnsupportedNetworkError."""
        h, classes, bias = self._penultimate.read(x, on_tile)
        if bias:
            h = torch.cat([h, torch.ones_like(h[:, :1])], dim=1)
        scaled: Tensor = h * classes**0.5
        return scaled


class ProjectedKernel(FeatureKernel):
    """The tangent kernel through a random map of parameters to K dimensions, unbiased; a stated seed is one map.

    Every parameter is given one dimension and a sign, so that parameters which share a dimension lie far apart and
    every dimension has as many: a sparse Johnson-Lindenstrauss map. Its kernel entries have the variance of a dense
    Gaussian map, (K_ii K_jj + K_ij²)/K at most, for one addition per parameter. It is streamed over parameters.
    """

    def __init__(self, engine: KernelEngine, dimensions: int, seed: int = 0) -> None:
        """`engine` computes gradients; `dimensions` is K."""
        self.engine = engine
        self._dimensions = dimensions
        self._seed = seed

    def outputs(self, x: Items) -> Tensor:
        """Network outputs (N, C), float64."""
        return self.engine.outputs(x)

    def features(self, x: Items, on_tile: Tick = nothing) -> Tensor:
        """(N, K) sketches of gradients, float64."""
        found = []
        for start, stop in self.engine.tiles(x):
            tile = self.engine.features(x[start:stop], on_tile)
            found.append(self._sketch(list(zip(tile.forms, tile.parts, strict=True)), stop - start))
        return torch.cat(found) if found else torch.zeros((0, self._dimensions), dtype=torch.float64)

    def _sketch(self, parts: list[tuple[Form, Parts]], items: int) -> Tensor:
        sketch = torch.zeros((items, self._dimensions), dtype=torch.float64, device=parts[0][1][0].device)
        for index, (form, tensors) in enumerate(parts):
            for piece, rows in enumerate(form.rows(tensors, _PIECE)):
                self._add(sketch, rows, f"{self._seed}/{index}/{piece}")
        return sketch

    def _add(self, sketch: Tensor, rows: Tensor, name: str) -> None:
        generator = torch.Generator().manual_seed(_seed_of(name))
        for start in range(0, rows.shape[1], self._dimensions):
            block = rows[:, start : start + self._dimensions]
            # Drawn on the CPU: other devices draw other numbers.
            to = torch.randperm(self._dimensions, generator=generator)
            signs = 2 * torch.randint(2, (self._dimensions,), generator=generator) - 1
            width = block.shape[1]
            signed = block * signs[:width].to(block)
            if width == self._dimensions:
                sketch += signed[:, to.to(block.device)]
            else:
                sketch.index_add_(1, to[:width].to(block.device), signed.double())


def _seed_of(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1
