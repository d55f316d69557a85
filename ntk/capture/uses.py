"""Uses of parameters: what a forward pass did with them, and their gradients once the backward pass is through."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from ntk.forms.convolution import Geometry

Tensor = torch.Tensor
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class OuterUse:
    """z = a Wᵀ, or with `swapped` z = a W: the gradient is Σ_t g_t a_tᵀ, or its transpose.

    `rows` says which rows (start, of how many) of W were used, where not all.
    """

    swapped: bool = False
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class ConvolutionUse:
    """z = a * W, or with `transposed` a transposed convolution, in which input and gradient change places."""

    geometry: Geometry
    transposed: bool = False


@dataclass(frozen=True)
class TokensUse:
    """z = W[tokens]; the row of `padding` has no gradient."""

    padding: int | None = None


@dataclass(frozen=True)
class BroadcastUse:
    """z = w ∘ a + ..., or z = w + ...: the gradient is Σ g ∘ a, or Σ g, over what w was broadcast along.

    `aligned` is the shape of w as it was broadcast to the output's, from the right.
    """

    aligned: Sizes
    transform: Callable[[Tensor], Tensor] | None = None  # from what was saved to a
    rows: tuple[int, int] | None = None


Kind = OuterUse | ConvolutionUse | TokensUse | BroadcastUse


@dataclass
class Use:
    """One use of one parameter in a forward pass."""

    parameter: str
    kind: Kind
    call: int  # which output: a weight and its bias share it
    saved: Tensor | None
    shape: Sizes  # of the output


@dataclass(frozen=True)
class Axis:
    """Where the items are: an axis of N·m entries, all m of an item together unless `inner`."""

    index: int
    multiple: int = 1
    inner: bool = False

    def first(self, tensor: Tensor) -> Tensor:
        """(N, m, ...) with the other axes in order."""
        moved = tensor.movedim(self.index, 0)
        if self.inner:
            return moved.reshape(self.multiple, -1, *moved.shape[1:]).transpose(0, 1)
        return moved.reshape(-1, self.multiple, *moved.shape[1:])


@dataclass(frozen=True)
class Placed:
    """Where the items are in a use's output and in what was saved."""

    output: Axis
    saved: Axis | None

    def turned(self) -> "Placed":
        """The same with the items innermost on merged axes."""
        saved = self.saved and replace(self.saved, inner=True)
        return replace(self, output=replace(self.output, inner=True), saved=saved)


def contribution(use: Use, placed: Placed, gradient: Tensor) -> tuple[Tensor, ...]:
    """What a use adds to its parameter's gradient, with one row per item.

    Outer: (N, T, p) and (N, T, d). Convolution: (N, m, C, *S) and (N, m, P, *S'). Tokens: (N, T) and (N, T, D).
    Broadcast: (N, size of the parameter).
    """
    g = placed.output.first(gradient)
    match use.kind:
        case OuterUse(swapped, rows):
            assert use.saved is not None
            assert placed.saved is not None
            left, right = g.flatten(1, -2), placed.saved.first(use.saved).flatten(1, -2)
            if rows is not None:
                left = functional.pad(left, (rows[0], rows[1] - rows[0] - left.shape[-1]))
            return (right, left) if swapped else (left, right)
        case ConvolutionUse(_, transposed):
            assert use.saved is not None
            assert placed.saved is not None
            a = placed.saved.first(use.saved)
            return (g, a) if transposed else (a, g)
        case TokensUse(padding):
            assert use.saved is not None
            assert placed.saved is not None
            tokens = placed.saved.first(use.saved).flatten(1)
            g = g.flatten(1, -2)
            return tokens, g if padding is None else g * (tokens != padding)[..., None]
        case BroadcastUse():
            return (_reduced(use, use.kind, placed, gradient),)


def _reduced(use: Use, kind: BroadcastUse, placed: Placed, gradient: Tensor) -> Tensor:
    """Σ g ∘ a over every axis along which the parameter was broadcast but the items'."""
    if use.saved is not None:
        gradient = gradient * (use.saved if kind.transform is None else kind.transform(use.saved))
    missing = gradient.ndim - len(kind.aligned)
    kept = [missing + axis for axis, size in enumerate(kind.aligned) if size > 1]
    at = placed.output.index
    g = placed.output.first(gradient)
    summed = [1] + [axis + 1 + (axis < at) for axis in range(gradient.ndim) if axis != at and axis not in kept]
    rows = g.sum(dim=summed).reshape(len(g), -1)
    if kind.rows is not None:
        rows = functional.pad(rows, (kind.rows[0], kind.rows[1] - kind.rows[0] - rows.shape[1]))
    return rows


def size_of(kind: BroadcastUse) -> int:
    """Entries of a broadcast parameter."""
    return kind.rows[1] if kind.rows is not None else math.prod(kind.aligned)
