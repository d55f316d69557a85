"""From uses to parts: which uses make up a parameter's gradient, how they merge, and in which form they are kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ntk.capture.uses import BroadcastUse, ConvolutionUse, OuterUse, Placed, TokensUse, Use, size_of
from ntk.forms import convolution, outer
from ntk.forms.base import Form, Parts
from ntk.forms.tokens import Tokens
from ntk.forms.vector import Vector

Tensor = torch.Tensor
Merge = Callable[[list[Parts]], Parts]


@dataclass(frozen=True)
class Part:
    """One parameter's share of the kernel, or that of a weight and its bias together."""

    parameters: tuple[str, ...]
    uses: tuple[int, ...]
    form: Form
    merge: Merge


def part_of(name: str, uses: dict[int, Use], placed: dict[int, Placed], sizes: torch.Size) -> Part | None:
    """The part of a parameter of shape `sizes`; None where its uses do not add up to anything known."""
    order = tuple(uses)
    kinds = {type(use.kind) for use in uses.values()}
    if kinds == {BroadcastUse}:
        kind = uses[order[0]].kind
        assert isinstance(kind, BroadcastUse)
        return Part((name,), order, Vector(size_of(kind)), _added)
    if kinds == {ConvolutionUse}:
        form, merge = _convolution(list(uses.values()), [placed[k] for k in order])
        return Part((name,), order, form, merge)
    if not kinds <= {OuterUse, TokensUse}:
        return None
    positions = sum(_positions(use, placed[k]) for k, use in uses.items())
    if kinds == {TokensUse}:
        return Part((name,), order, Tokens(sizes[0], sizes[1], positions), _joined)
    p, d = sizes
    if kinds == {OuterUse}:
        return Part((name,), order, outer.choose(p, d, positions), _joined)
    token_uses = [isinstance(use.kind, TokensUse) for use in uses.values()]
    return Part((name,), order, outer.choose(p, d, positions), _one_hot(token_uses, p))


def with_bias(weight: Part, bias: Part, uses: Sequence[Use], sizes: torch.Size) -> Part | None:
    """Weight and bias of one linear call on one position per item, as one part; None where they are not that."""
    if not isinstance(weight.form, outer.Outer) or len(weight.uses) != 1 or len(bias.uses) != 1:
        return None
    first, second = uses[weight.uses[0]], uses[bias.uses[0]]
    if first.call != second.call or second.saved is not None or first.kind != OuterUse():
        return None
    form = outer.Outer(sizes[0], sizes[1], bias=True)
    return Part((*weight.parameters, *bias.parameters), weight.uses, form, weight.merge)


def _positions(use: Use, placed: Placed) -> int:
    """Entries of an item in the output, along all axes but the last."""
    count = placed.output.multiple
    for axis, size in enumerate(use.shape[:-1]):
        count *= 1 if axis == placed.output.index else size
    return count


def _added(found: list[Parts]) -> Parts:
    return (sum((parts[0] for parts in found[1:]), start=found[0][0]),)


def _joined(found: list[Parts]) -> Parts:
    """Uses one after the other, as more positions of one."""
    if len(found) == 1:
        return found[0]
    return tuple(torch.cat(parts, dim=1) for parts in zip(*found, strict=True))


def _one_hot(token_uses: list[bool], vocabulary: int) -> Merge:
    """A table that is looked up and multiplied with: looking up is multiplying with a one-hot row."""

    def merge(found: list[Parts]) -> Parts:
        as_outer = [
            (torch.nn.functional.one_hot(parts[0], vocabulary).to(parts[1].dtype), parts[1]) if tokens else parts
            for parts, tokens in zip(found, token_uses, strict=True)
        ]
        return _joined(as_outer)

    return merge


def _convolution(uses: list[Use], placed: list[Placed]) -> tuple[Form, Merge]:
    shapes = [_shape(use, where) for use, where in zip(uses, placed, strict=True)]
    first = shapes[0]
    alike = all(
        (shape.geometry, shape.inputs_at, shape.outputs_at) == (first.geometry, first.inputs_at, first.outputs_at)
        for shape in shapes
    )
    if alike:
        together = sum(shape.applications for shape in shapes)
        shape = convolution.Shape(
            first.geometry, together, first.channels, first.outputs, first.inputs_at, first.outputs_at
        )
        return convolution.choose(shape), _joined

    def merge(found: list[Parts]) -> Parts:
        size = first.outputs * first.patch
        rows = [next(convolution.convolution_rows(*each, size)) for each in zip(shapes, found, strict=True)]
        return (torch.stack(rows).sum(dim=0),)

    return Vector(first.outputs * first.patch), merge


def _shape(use: Use, placed: Placed) -> convolution.Shape:
    kind = use.kind
    assert isinstance(kind, ConvolutionUse)
    assert use.saved is not None
    a, g = tuple(use.saved.shape), use.shape
    if kind.transposed:
        a, g = g, a
    return convolution.Shape(kind.geometry, placed.output.multiple, a[1], g[1], a[2:], g[2:])
