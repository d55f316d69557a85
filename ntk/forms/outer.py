"""Weights whose gradient is a sum of outer products Σ_t g_t a_tᵀ: linear layers, recurrent ones, tied ones."""

from collections.abc import Iterator

import torch
from torch.nn import functional

from ntk.forms.base import ELEMENTWISE, TYPICAL_ITEMS, Form, Parts, RowsForm, pieces
from ntk.products import Blocks, Products

Tensor = torch.Tensor

PAIR_ENTRIES = 1 << 22


class Outer(Form):
    """One outer product per item: inner products factorise into (a·a')(g·g')."""

    name = "outer product"

    def __init__(self, p: int, d: int, *, bias: bool) -> None:
        """With `bias`, the layer's bias too: it is the weight of an input that is always one."""
        self._bias = bias
        self.cost = float(p + d)

    def add(self, total: Tensor, left: Parts, right: Parts, blocks: Blocks, products: Products) -> None:
        """(A Aᵀ + 1) ∘ (G Gᵀ)."""
        g, a = (part.flatten(1).to(products.dtype) for part in left)
        h, b = (g, a) if left is right else (part.flatten(1).to(products.dtype) for part in right)
        for rows, columns in blocks:
            block = products.inner(a[rows], b[columns])
            if self._bias:
                block += 1
            total[rows, columns] += block.mul_(products.inner(g[rows], h[columns]))

    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """Outer products, some outputs at a time."""
        g, a = parts
        if self._bias:
            a = functional.pad(a, (0, 1), value=1.0)
        yield from _outer_rows(g, a, entries)


class SummedOuter(RowsForm):
    """Many positions per item: their outer products are summed into one matrix per item first."""

    name = "materialised"

    def __init__(self, p: int, d: int, positions: int) -> None:
        self._captured = positions * (p + d)
        self._size = p * d
        self.cost = p * d * (1 + positions / TYPICAL_ITEMS)

    def keep(self, parts: Parts) -> Parts:
        """The rows where they are smaller than what they are made of."""
        if len(parts) == 2 and self._size < self._captured:
            return (torch.matmul(parts[0].mT, parts[1]).flatten(1),)
        return parts

    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """Σ_t g_t a_tᵀ, some outputs at a time."""
        return pieces(parts[0], entries) if len(parts) == 1 else _outer_rows(parts[0], parts[1], entries)


class Pairs(Form):
    """Few positions per item: the inner products of all pairs of positions, Σ_{t,t'} (a_t·a'_t')(g_t·g'_t')."""

    name = "pairs of positions"

    def __init__(self, p: int, d: int, positions: int) -> None:
        self.cost = positions**2 * (p + d + ELEMENTWISE)

    def add(self, total: Tensor, left: Parts, right: Parts, blocks: Blocks, products: Products) -> None:
        """Block by block, a few rows at a time."""
        add_pairs(total, left, right, blocks, products)

    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """Σ_t g_t a_tᵀ, some outputs at a time."""
        return _outer_rows(parts[0], parts[1], entries)


def add_pairs(total: Tensor, left: Parts, right: Parts, blocks: Blocks, products: Products) -> None:
    """Add Σ_{t,t'} (a_t·a'_t')(g_t·g'_t') of gradients (N, T, p) and inputs (N, T, d) to these blocks of `total`."""
    (g, a), (h, b) = left, right
    positions = g.shape[1]
    for rows, columns in blocks:
        hs, bs = (by_position(part[columns], products) for part in (h, b))
        others = columns.stop - columns.start
        for some in few(rows, others * positions**2):
            pairs = products.inner(by_position(a[some], products), bs)
            pairs.mul_(products.inner(by_position(g[some], products), hs))
            total[some, columns] += pairs.view(positions, -1, positions, others).sum(dim=(0, 2))


def by_position(part: Tensor, products: Products) -> Tensor:
    """(N, T, q) as (T·N, q): items of one position lie together, so that sums over positions run along items."""
    return part.to(products.dtype).transpose(0, 1).flatten(0, 1)


def few(rows: slice, entries_each: int) -> Iterator[slice]:
    """Rows in turn, so few that a temporary of theirs stays in a processor's cache."""
    step = max(1, PAIR_ENTRIES // max(1, entries_each))
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop))


def choose(p: int, d: int, positions: int) -> Form:
    """The form with the fewer counted multiplications."""
    if positions == 1:
        return Outer(p, d, bias=False)
    forms: list[Form] = [SummedOuter(p, d, positions), Pairs(p, d, positions)]
    return min(forms, key=lambda form: form.cost)


def _outer_rows(g: Tensor, a: Tensor, entries: int) -> Iterator[Tensor]:
    step = max(1, entries // a.shape[2])
    for start in range(0, g.shape[2], step):
        yield torch.matmul(g[:, :, start : start + step].mT, a).flatten(1)
