"""Convolution weights of any dimension, stride, padding, dilation and groups.

Parts are the layer's unpadded input (N, m, C, *S) and its output's gradient (N, m, P, *S'), where m counts how often
the weight was applied to an item. Sums over positions t and kernel offsets δ:
K(x, x') = Σ_{t,t'} (g_t·g'_t') Σ_δ a_{t+δ}·a'_{t'+δ}.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch.nn import functional

from ntk.forms.base import ELEMENTWISE, TYPICAL_ITEMS, Form, Parts, RowsForm, pieces
from ntk.forms.outer import add_pairs, by_position, few
from ntk.products import Blocks, Products

Tensor = torch.Tensor
Sizes = tuple[int, ...]

_FEW_POSITIONS = 100
_ITEMS_UNFOLDED = 8


@dataclass(frozen=True)
class Geometry:
    """A convolution's numbers, one per spatial dimension where there are several."""

    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int

    @property
    def taps(self) -> int:
        """Kernel offsets."""
        return math.prod(self.kernel)


@dataclass(frozen=True)
class Shape:
    """What the cost of a form depends on."""

    geometry: Geometry
    applications: int  # m
    channels: int  # C
    outputs: int  # P
    inputs_at: Sizes  # S
    outputs_at: Sizes  # S'

    @property
    def positions(self) -> int:
        """Output positions of an item, all applications together."""
        return self.applications * math.prod(self.outputs_at)

    @property
    def patch(self) -> int:
        """Inputs that one output sees."""
        return self.channels // self.geometry.groups * self.geometry.taps


class ConvolutionRows(RowsForm):
    """The library's own weight gradient, one item at a time: fastest where positions are many."""

    name = "materialised"

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._size = shape.outputs * shape.patch
        self._captured = shape.applications * (
            shape.channels * math.prod(shape.inputs_at) + shape.outputs * math.prod(shape.outputs_at)
        )
        self.cost = self._size * (1 + shape.positions / TYPICAL_ITEMS)

    def keep(self, parts: Parts) -> Parts:
        """The rows where they are smaller than what they are made of."""
        if len(parts) == 2 and self._size < self._captured:
            return (next(self.rows(parts, self._size)),)
        return parts

    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """Weight gradients, some output channels at a time."""
        return pieces(parts[0], entries) if len(parts) == 1 else convolution_rows(self._shape, parts, entries)


class ConvolutionPairs(Form):
    """Patches at all pairs of positions: for strided layers with few positions."""

    name = "pairs of positions"

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        groups = shape.geometry.groups
        self.cost = shape.positions**2 * (groups * (shape.patch + ELEMENTWISE) + shape.outputs)

    def add(self, total: Tensor, left: Parts, right: Parts, blocks: Blocks, products: Products) -> None:
        """Group by group, block by block, a few rows at a time."""
        mine = self._unfolded(left)
        its = mine if left is right else self._unfolded(right)
        for (g, a), (h, b) in zip(mine, its, strict=True):
            add_pairs(total, (g, a), (h, b), blocks, products)

    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """Weight gradients, some output channels at a time."""
        return convolution_rows(self._shape, parts, entries)

    def _unfolded(self, parts: Parts) -> list[Parts]:
        """Gradients (N, T, P/groups) and patches (N, T, patch) of each group."""
        groups = self._shape.geometry.groups
        a = patches(self._shape, parts[0])
        g = parts[1].unflatten(2, (groups, -1)).flatten(4).permute(0, 2, 1, 4, 3).flatten(2, 3)
        return [(g[:, group], a[:, group]) for group in range(groups)]


class ConvolutionShifted(Form):
    """Pairs of *unpadded* inputs, summed along shifts: saves the factor of the kernel's size in the products."""

    name = "shifted pairs"

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        inputs, outputs = math.prod(shape.inputs_at), math.prod(shape.outputs_at)
        self._shifts = [self._reach(shift) for shift in product(*(range(k) for k in shape.geometry.kernel))]
        summed = sum(len(reach) ** 2 for reach in self._shifts)
        self.cost = inputs**2 * shape.channels + outputs**2 * shape.outputs + ELEMENTWISE * summed

    def _reach(self, shift: Sizes) -> list[tuple[int, int]]:
        """(output position, input position) that this kernel offset joins inside the input."""
        shape, geometry = self._shape, self._shape.geometry
        reach = []
        for out, at in enumerate(product(*(range(size) for size in shape.outputs_at))):
            seen = [
                o * s + k * d - p
                for o, k, s, d, p in zip(at, shift, geometry.stride, geometry.dilation, geometry.padding, strict=True)
            ]
            if all(0 <= i < size for i, size in zip(seen, shape.inputs_at, strict=True)):
                flat = 0
                for i, size in zip(seen, shape.inputs_at, strict=True):
                    flat = flat * size + i
                reach.append((out, flat))
        return reach

    def add(self, total: Tensor, left: Parts, right: Parts, blocks: Blocks, products: Products) -> None:
        """Block by block, a few rows at a time, so that a row of blocks stays in the cache."""
        a, g = (part.flatten(3).squeeze(1).mT for part in left)
        b, h = (part.flatten(3).squeeze(1).mT for part in right)
        inputs, outputs = a.shape[1], g.shape[1]
        for rows, columns in blocks:
            bs, hs = by_position(b[columns], products), by_position(h[columns], products)
            others = columns.stop - columns.start
            for some in few(rows, others * max(inputs, outputs) ** 2):
                q = products.inner(by_position(a[some], products), bs).view(inputs, -1, inputs, others)
                r = products.inner(by_position(g[some], products), hs).view(outputs, -1, outputs, others)
                total[some, columns] += self._sum(q, r)

    def _sum(self, q: Tensor, r: Tensor) -> Tensor:
        found = r.new_zeros((r.shape[1], r.shape[3]))
        for reach in self._shifts:
            for (out, at), (other_out, other_at) in product(reach, reach):
                found.addcmul_(q[at, :, other_at], r[out, :, other_out])
        return found

    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """Weight gradients, some output channels at a time."""
        return convolution_rows(self._shape, parts, entries)


def choose(shape: Shape) -> Form:
    """The form with the fewer counted multiplications."""
    forms: list[Form] = [ConvolutionRows(shape), ConvolutionPairs(shape)]
    # Shifts are written out one by one: only worth it, and only short, where positions are few.
    few = max(math.prod(shape.inputs_at), math.prod(shape.outputs_at)) <= 64
    if shape.applications == 1 and shape.geometry.groups == 1 and few:
        forms.append(ConvolutionShifted(shape))
    return min(forms, key=lambda form: form.cost)


def convolution_rows(shape: Shape, parts: Parts, entries: int) -> Iterator[Tensor]:
    """(N, q) weight gradients, some output channels at a time."""
    a, g = parts
    step = shape.outputs if shape.geometry.groups > 1 else max(1, min(shape.outputs, entries // shape.patch))
    for start in range(0, shape.outputs, step):
        yield _weight_gradients(shape, a, g[:, :, start : start + step])


def _weight_gradients(shape: Shape, a: Tensor, g: Tensor) -> Tensor:
    geometry = shape.geometry
    if a.is_cuda and geometry.groups == 1:
        # Thousands of small launches would cost more than unfolding.
        gradients = g.flatten(3).transpose(2, 3).flatten(1, 2)
        return torch.matmul(gradients.mT, patches(shape, a)[:, 0]).flatten(1)
    weight = a.new_empty((g.shape[2], shape.channels // geometry.groups, *geometry.kernel))
    rows = a.new_empty((len(a), weight.numel()))
    if shape.positions <= _FEW_POSITIONS and geometry.groups == 1 and a.dtype == torch.float32:
        return _by_patches(shape, a, g, rows)
    for row, item, gradient in zip(rows, a, g, strict=True):
        _, found, _ = torch.ops.aten.convolution_backward(
            gradient, item, weight, None, geometry.stride, geometry.padding, geometry.dilation,
            False, [0] * len(geometry.kernel), geometry.groups, [False, True, False],
        )  # fmt: skip
        row.copy_(found.flatten())
    return rows


def _by_patches(shape: Shape, a: Tensor, g: Tensor, rows: Tensor) -> Tensor:
    """Item by item gradient times patches: the library's weight gradient is slow where positions are few."""
    products = Products("float32", a.device)
    gradients = g.flatten(3).transpose(1, 2).flatten(2)  # (N, P, T)
    for start in range(0, len(a), _ITEMS_UNFOLDED):
        some = slice(start, start + _ITEMS_UNFOLDED)
        unfolded = patches(shape, a[some])[:, 0].mT.contiguous()  # (n, patch, T)
        for row, gradient, patch in zip(rows[some], gradients[some], unfolded, strict=True):
            row.copy_(products.inner(gradient, patch).flatten())
    return rows


def patches(shape: Shape, a: Tensor) -> Tensor:
    """(N, groups, T, patch): what each output position sees, in the weight's layout."""
    geometry = shape.geometry
    padded = functional.pad(a, [side for pad in reversed(geometry.padding) for side in (pad, pad)]).contiguous()
    items, applications, channels = padded.shape[:3]
    strides = padded.stride()
    kernel = tuple(s * d for s, d in zip(strides[3:], geometry.dilation, strict=True))
    steps = tuple(s * d for s, d in zip(strides[3:], geometry.stride, strict=True))
    per_group = channels // geometry.groups
    view = padded.as_strided(
        (items, geometry.groups, applications, *shape.outputs_at, per_group, *geometry.kernel),
        (strides[0], per_group * strides[2], strides[1], *steps, strides[2], *kernel),
    )
    return view.reshape(items, geometry.groups, shape.positions, shape.patch)
