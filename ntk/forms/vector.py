"""Parameters whose per-example gradients are small enough to be kept as they are."""

from collections.abc import Iterator

import torch

from ntk.forms.base import Parts, RowsForm, pieces

Tensor = torch.Tensor


class Vector(RowsForm):
    """Gradients as rows (N, q): biases, normalisation, position embeddings, whatever no rule covers."""

    name = "rows"

    def __init__(self, size: int) -> None:
        self.cost = float(size)

    def rows(self, parts: Parts, entries: int) -> Iterator[Tensor]:
        """The rows themselves."""
        (gradients,) = parts
        return pieces(gradients, entries)
