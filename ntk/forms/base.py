"""Forms: what is kept of a parameter's per-example gradients, and how their inner products are computed.

A form is a strategy for one parameter. The same kernel block can always be had through materialised rows
(`rows`), so that every form has a second, independent algorithm to be compared with.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from ntk.products import Blocks, Products

Tensor = torch.Tensor
Parts = tuple[Tensor, ...]  # each (N, ...): one row per item

# Items that share one materialisation when forms are compared. A constant: every tile has the same form.
TYPICAL_ITEMS = 512
# One multiplication outside a matrix product costs about as much as this many inside: it waits for memory.
ELEMENTWISE = 100


def pieces(rows: Tensor, entries: int) -> Iterator[Tensor]:
    """Rows (N, q) that are there already, some columns at a time."""
    for start in range(0, rows.shape[1], entries):
        yield rows[:, start : start + entries]


class Form(ABC):
    """How one parameter enters the kernel."""

    name: str
    # Multiplications per pair of items, those outside matrix products counted as ELEMENTWISE each.
    cost: float

    @abstractmethod
    def add(self, total: Tensor, left: Parts, right: Parts, blocks: Blocks, products: Products) -> None:
        """Add inner products of gradients to these blocks of `total` (N, M), float64."""

    @abstractmethod
    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """Gradients (N, q) in the parameter's own layout, in turn, of about `entries` columns each."""

    def keep(self, parts: Parts) -> Parts:
        """What to keep of a tile's parts until they are multiplied."""
        return parts


class RowsForm(Form):
    """Gradients multiplied as rows, materialised piece by piece."""

    def add(self, total: Tensor, left: Parts, right: Parts, blocks: Blocks, products: Products) -> None:
        """Products of materialised rows."""
        same = left is right
        items = len(left[0]) if same else len(left[0]) + len(right[0])
        entries = max(1, products.entries // max(1, items))
        if len(left) == 1 and left[0].dtype == products.dtype:
            entries = left[0].shape[1]  # rows that need no temporary
        others = iter(()) if same else self.rows(right, entries)
        for piece in self.rows(left, entries):
            mine = piece.to(products.dtype)
            its = mine if same else next(others).to(products.dtype)
            for rows, columns in blocks:
                total[rows, columns] += products.inner(mine[rows], its[columns])
            del piece, mine, its  # before the next piece is made: there is to be one at a time
