"""Which items each step sees."""

from collections.abc import Iterator

import torch
from torch import nn

from ntk.kernel import Items, Ranges, tile_plan

Tensor = torch.Tensor


def dtype_of(module: nn.Module) -> torch.dtype:
    """The type of the network's first floating-point parameter; float32 where it has none."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def batch_norms(module: nn.Module) -> list[nn.Module]:
    """The network's batch norm layers."""
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def batch_ranges(count: int, batch_size: int, least: int) -> Ranges:
    """Ranges [start, stop) of `batch_size` that cover `count` items; a rest smaller than `least` joins the last."""
    ranges = tile_plan(count, max(batch_size, least))
    if len(ranges) > 1 and ranges[-1][1] - ranges[-1][0] < least:
        stop = ranges.pop()[1]
        ranges[-1] = (ranges[-1][0], stop)
    return ranges


def shuffled_rows(ranges: Ranges, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of one batch after another, without end; every pass has an order of its own."""
    while True:
        order = torch.randperm(ranges[-1][1], generator=generator)
        for start, stop in ranges:
            yield order[start:stop]


def shuffled_items(x: Items, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of x, without end; a pass sees every item once.

    A tensor is shuffled item by item in every pass. Anything else is read by whole slices, because reading item by
    item may be slow: only the order of the slices is shuffled, and neighbours should be no more alike than others.
    """
    ranges = tile_plan(len(x), batch_size)
    if isinstance(x, Tensor):
        for rows in shuffled_rows(ranges, generator):
            yield x[rows.to(x.device)]
    while True:
        for k in torch.randperm(len(ranges), generator=generator).tolist():
            start, stop = ranges[k]
            yield x[start:stop]
