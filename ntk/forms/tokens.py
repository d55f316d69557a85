"""Embedding tables: the gradient of an item has rows for its tokens only."""

from collections.abc import Iterator

import torch

from ntk.forms.base import ELEMENTWISE, Form, Parts
from ntk.products import Blocks, Products

Tensor = torch.Tensor


class Tokens(Form):
    """Tokens (N, T) and the gradients (N, T, D) of what was looked up for them."""

    name = "tokens"

    def __init__(self, vocabulary: int, width: int, positions: int) -> None:
        self._vocabulary = vocabulary
        self.cost = float(positions * width + positions**2 * ELEMENTWISE)

    def add(self, total: Tensor, left: Parts, right: Parts, blocks: Blocks, products: Products) -> None:
        """Only tokens that both sides have can contribute: rows of those, some tokens at a time."""
        tokens = _common(left[0], right[0])
        width = left[1].shape[2]
        step = max(1, products.entries // max(1, (len(left[0]) + len(right[0])) * width))
        for start in range(0, len(tokens), step):
            some = tokens[start : start + step]
            mine = _rows_of(left, some).to(products.dtype)
            its = mine if left is right else _rows_of(right, some).to(products.dtype)
            for rows, columns in blocks:
                total[rows, columns] += products.inner(mine[rows], its[columns])

    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """The whole table's gradient, some tokens at a time."""
        step = max(1, entries // parts[1].shape[2])
        for start in range(0, self._vocabulary, step):
            stop = min(start + step, self._vocabulary)
            yield _rows_of(parts, torch.arange(start, stop, device=parts[0].device))


def _common(left: Tensor, right: Tensor) -> Tensor:
    mine: Tensor = torch.unique(left)
    return mine if left is right else mine[torch.isin(mine, torch.unique(right))]


def _rows_of(parts: Parts, tokens: Tensor) -> Tensor:
    """(N, len(tokens)·D) gradients of these rows of the table; `tokens` ascending."""
    found, gradients = parts
    items, _, width = gradients.shape
    column = torch.searchsorted(tokens, found).clamp_(max=len(tokens) - 1)
    item, position = (tokens[column] == found).nonzero(as_tuple=True)
    table = gradients.new_zeros((items * len(tokens), width))
    table.index_add_(0, item * len(tokens) + column[item, position], gradients[item, position])
    return table.view(items, -1)
