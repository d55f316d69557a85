"""What a caller may ask of a posterior, checked before anything changes."""

import torch

Tensor = torch.Tensor


def check_labels(indices: list[int], ys: list[int], labeled: Tensor, size: int, classes: int) -> None:
    """Raise ValueError unless `indices` are distinct unlabeled window items, each with a known class."""
    if len(set(indices)) < len(indices) or set(indices) & set(labeled.tolist()):
        raise ValueError("an item to label is named twice or is labeled already")
    if not all(0 <= index < size for index in indices):
        raise ValueError(f"an item to label is not among the {size} of the window")
    if len(ys) != len(indices) or not all(0 <= y < classes for y in ys):
        raise ValueError(f"every item to label needs one of {classes} classes")


def check_absent(indices: list[int], candidates: Tensor, labeled: Tensor) -> None:
    """Raise ValueError if an item to add is named twice, is a candidate already or is labeled."""
    present = set(candidates.tolist()) | set(labeled.tolist())
    if len(set(indices)) < len(indices) or present & set(indices):
        raise ValueError("an item to add is named twice, is a candidate already, or is labeled")
