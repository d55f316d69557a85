"""Which shapes of items are pictures."""

from typing import Literal, NamedTuple

SIDE_MIN, SIDE_MAX = 4, 1024


class Layout(NamedTuple):
    """How the numbers of a picture lie."""

    height: int
    width: int
    channels: int
    order: Literal["HW", "CHW", "HWC"]


def layout_of(shape: tuple[int, ...]) -> Layout | None:
    """(H, W), (1 or 3, H, W) or (H, W, 1 or 3), in this order, with sides of 4 to 1024; None for anything else."""
    candidates = []
    if len(shape) == 2:
        candidates = [Layout(shape[0], shape[1], 1, "HW")]
    elif len(shape) == 3:
        candidates = [Layout(shape[1], shape[2], shape[0], "CHW"), Layout(shape[0], shape[1], shape[2], "HWC")]
    for found in candidates:
        sides = (found.height, found.width)
        if found.channels in {1, 3} and min(sides) >= SIDE_MIN and max(sides) <= SIDE_MAX:
            return found
    return None
