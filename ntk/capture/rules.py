"""Rules: for each function that takes parameters, what it does with them.

A rule has the function's own signature, calls it, and records the uses. Sources: the gradients are those of the
functions' definitions; each rule is tested against per-example differentiation.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from ntk.capture.recorder import DeclinedError, Handler, Recorder
from ntk.capture.uses import BroadcastUse, ConvolutionUse, OuterUse, Sizes, TokensUse
from ntk.forms.convolution import Geometry

Tensor = torch.Tensor


def linear(recorder: Recorder, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002
    """z = a Wᵀ + b."""
    output = functional.linear(input, weight, bias)
    return recorder.record(output, (weight, OuterUse(), input), (bias, _shift(bias), None))


def linear_rows(recorder: Recorder, a: Tensor, weight: Tensor, bias: Tensor | None, start: int, stop: int) -> Tensor:
    """z = a W[start:stop]ᵀ + b[start:stop], as packed attention projections use their parts."""
    part = None if bias is None else bias[start:stop]
    output = functional.linear(a, weight[start:stop], part)
    uses = [(weight, OuterUse(rows=(start, len(weight))), a)]
    if bias is not None:
        uses.append((bias, BroadcastUse((stop - start,), rows=(start, len(bias))), None))  # type: ignore[arg-type]
    return recorder.record(output, *uses)


def addmm(recorder: Recorder, input: Tensor, mat1: Tensor, mat2: Tensor, **scales: Any) -> Tensor:  # noqa: A002
    """z = b + a W."""
    if scales:
        raise DeclinedError
    return recorder.record(
        torch.addmm(input, mat1, mat2), (mat2, OuterUse(swapped=True), mat1), (input, _shift(input), None)
    )


def matmul(recorder: Recorder, input: Tensor, other: Tensor) -> Tensor:  # noqa: A002
    """z = a W."""
    if other.ndim != 2 or input.ndim < 2:
        raise DeclinedError
    return recorder.record(torch.matmul(input, other), (other, OuterUse(swapped=True), input))


def convolution(
    function: Callable[..., Tensor],
    recorder: Recorder,
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sizes = 1,
    padding: int | Sizes | str = 0,
    dilation: int | Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """z = a * W + b; padding that is not the same on both sides is made beforehand."""
    kernel = tuple(weight.shape[2:])
    dimensions = len(kernel)
    if input.ndim != dimensions + 2:
        raise DeclinedError
    stride, dilation = _sizes(stride, dimensions), _sizes(dilation, dimensions)
    if padding == "same":
        whole = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        input = functional.pad(input, [side for w in reversed(whole) for side in (w // 2, w - w // 2)])  # noqa: A001
    padding = (0,) * dimensions if isinstance(padding, str) else _sizes(padding, dimensions)
    output = function(input, weight, bias, stride, padding, dilation, groups)
    geometry = Geometry(kernel, stride, padding, dilation, groups)
    return recorder.record(
        output, (weight, ConvolutionUse(geometry), input), (bias, _channel_shift(bias, output), None)
    )


def transposed_convolution(
    function: Callable[..., Tensor],
    recorder: Recorder,
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sizes = 1,
    padding: int | Sizes = 0,
    output_padding: int | Sizes = 0,
    groups: int = 1,
    dilation: int | Sizes = 1,
) -> Tensor:
    """The transpose of a convolution with the same weight."""
    kernel = tuple(weight.shape[2:])
    dimensions = len(kernel)
    if input.ndim != dimensions + 2:
        raise DeclinedError
    output = function(input, weight, bias, stride, padding, output_padding, groups, dilation)
    stride, padding, dilation = (_sizes(value, dimensions) for value in (stride, padding, dilation))
    geometry = Geometry(kernel, stride, padding, dilation, groups)
    return recorder.record(
        output,
        (weight, ConvolutionUse(geometry, transposed=True), input),
        (bias, _channel_shift(bias, output), None),
    )


def embedding(
    recorder: Recorder,
    input: Tensor,  # noqa: A002
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """z = W[tokens]. How a trainer would scale or store the gradient is not part of the kernel."""
    if max_norm is not None:
        raise DeclinedError
    output = functional.embedding(input, weight)
    padding = None if padding_idx is None else padding_idx % len(weight)
    return recorder.record(output, (weight, TokensUse(padding), input))


def batch_norm(
    recorder: Recorder,
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Scale and shift along channels after fixed statistics."""
    if training:
        raise DeclinedError
    output = functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    normalise = partial(functional.batch_norm, running_mean=running_mean, running_var=running_var, eps=eps)
    return _affine_channels(recorder, output, input, weight, bias, normalise)


def group_norm(
    recorder: Recorder,
    input: Tensor,  # noqa: A002
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Scale and shift along channels after the item's own statistics."""
    output = functional.group_norm(input, num_groups, weight, bias, eps)
    normalise = partial(functional.group_norm, num_groups=num_groups, eps=eps)
    return _affine_channels(recorder, output, input, weight, bias, normalise)


def instance_norm(
    recorder: Recorder,
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Scale and shift along channels after the statistics of each channel of an item."""
    fixed = {"running_mean": running_mean, "running_var": running_var, "use_input_stats": use_input_stats, "eps": eps}
    output = functional.instance_norm(input, weight=weight, bias=bias, momentum=0.0, **fixed)  # type: ignore[arg-type]
    normalise = partial(functional.instance_norm, momentum=0.0, **fixed)  # type: ignore[arg-type]
    return _affine_channels(recorder, output, input, weight, bias, normalise)


def layer_norm(
    recorder: Recorder,
    input: Tensor,  # noqa: A002
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Scale and shift along the trailing axes after the item's own statistics."""
    output = functional.layer_norm(input, normalized_shape, weight, bias, eps)
    normalise = partial(functional.layer_norm, normalized_shape=normalized_shape, eps=eps)
    shape = tuple(normalized_shape)
    return recorder.record(output, (weight, BroadcastUse(shape, normalise), input), (bias, BroadcastUse(shape), None))


def rms_norm(
    recorder: Recorder,
    input: Tensor,  # noqa: A002
    normalized_shape: Any,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Scale along the trailing axes after the item's own root mean square."""
    output = functional.rms_norm(input, normalized_shape, weight, eps)
    normalise = partial(functional.rms_norm, normalized_shape=normalized_shape, eps=eps)
    return recorder.record(output, (weight, BroadcastUse(tuple(normalized_shape), normalise), input))


def prelu(recorder: Recorder, input: Tensor, weight: Tensor) -> Tensor:  # noqa: A002
    """z = max(a, 0) + w min(a, 0)."""
    output = functional.prelu(input, weight)
    aligned = (1,) if weight.numel() == 1 else (weight.numel(), *(1 for _ in input.shape[2:]))
    return recorder.record(output, (weight, BroadcastUse(aligned, partial(torch.clamp, max=0.0)), input))


def add(recorder: Recorder, input: Any, other: Any, *, alpha: float = 1) -> Tensor:  # noqa: A002
    """z = a + b, either of them a parameter that is broadcast along the items."""
    if alpha != 1:
        raise DeclinedError
    return _broadcast(recorder, torch.add(input, other), input, other, multiply=False)


def add_in_place(recorder: Recorder, input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:  # noqa: A002
    """a += b."""
    if alpha != 1 or recorder.name(input) is not None:
        raise DeclinedError
    return _broadcast(recorder, input.add_(other), input, other, multiply=False)


def multiply(recorder: Recorder, input: Any, other: Any) -> Tensor:  # noqa: A002
    """z = a ∘ w, either of them a parameter that is broadcast along the items."""
    return _broadcast(recorder, torch.mul(input, other), input, other, multiply=True)


def expand(recorder: Recorder, input: Tensor, *sizes: Any) -> Tensor:  # noqa: A002
    """A parameter (1, ...) repeated for every item, as class tokens are."""
    output = input.expand(*sizes)
    if output.ndim != input.ndim or input.shape[0] != 1 or output.shape[1:] != input.shape[1:]:
        raise DeclinedError
    return recorder.record(output, (input, BroadcastUse(tuple(input.shape)), None))


def _broadcast(recorder: Recorder, output: Tensor, a: Any, b: Any, *, multiply: bool) -> Tensor:
    first, second = recorder.name(a) is not None, recorder.name(b) is not None
    if first == second or not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        raise DeclinedError
    parameter, other = (a, b) if first else (b, a)
    # The product with what was broadcast itself: its full shape is the output's.
    saved = other.expand_as(output) if multiply else None
    return recorder.record(output, (parameter, BroadcastUse(tuple(parameter.shape)), saved))


def _affine_channels(
    recorder: Recorder,
    output: Tensor,
    a: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    normalise: Callable[[Tensor], Tensor],
) -> Tensor:
    aligned = (output.shape[1], *(1 for _ in output.shape[2:]))
    return recorder.record(output, (weight, BroadcastUse(aligned, normalise), a), (bias, BroadcastUse(aligned), None))


def _shift(bias: Tensor | None) -> BroadcastUse:
    return BroadcastUse(() if bias is None else tuple(bias.shape))


def _channel_shift(bias: Tensor | None, output: Tensor) -> BroadcastUse:
    return BroadcastUse(() if bias is None else (len(bias), *(1 for _ in output.shape[2:])))


def _sizes(value: int | Sizes, dimensions: int) -> Sizes:
    if isinstance(value, int):
        return (value,) * dimensions
    sizes = tuple(value)
    return sizes * dimensions if len(sizes) == 1 else sizes


RULES: dict[Callable[..., Any], Handler] = {
    functional.linear: linear,
    torch.addmm: addmm,
    torch.matmul: matmul,
    Tensor.matmul: matmul,
    torch.mm: matmul,
    Tensor.mm: matmul,
    functional.conv1d: partial(convolution, functional.conv1d),
    functional.conv2d: partial(convolution, functional.conv2d),
    functional.conv3d: partial(convolution, functional.conv3d),
    functional.conv_transpose1d: partial(transposed_convolution, functional.conv_transpose1d),
    functional.conv_transpose2d: partial(transposed_convolution, functional.conv_transpose2d),
    functional.conv_transpose3d: partial(transposed_convolution, functional.conv_transpose3d),
    functional.embedding: embedding,
    functional.batch_norm: batch_norm,
    functional.group_norm: group_norm,
    functional.instance_norm: instance_norm,
    functional.layer_norm: layer_norm,
    functional.rms_norm: rms_norm,
    functional.prelu: prelu,
    torch.add: add,
    Tensor.add: add,
    Tensor.add_: add_in_place,
    torch.mul: multiply,
    Tensor.mul: multiply,
    Tensor.expand: expand,
}
