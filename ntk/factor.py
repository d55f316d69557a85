"""The lower Cholesky factor of A = K_LL + λI, float64, grown one row at a time."""

from collections.abc import Sequence

import torch

from ntk.errors import NonFiniteError, NotPositiveDefiniteError
from ntk.linalg import jittered_cholesky

Tensor = torch.Tensor

PANEL_ROWS = 256


class Factor:
    """Append-only triangular factor (n, n), kept as contiguous panels of rows.

    Panels make appending free of copies of the whole factor, and let triangular solves read every entry once,
    in place.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self._panels: list[Tensor] = []
        self._size = 0
        self.jitter = 0.0

    @classmethod
    def from_gram(cls, matrix: Tensor) -> "Factor":
        """The factor of a symmetric (n, n) float64 matrix; `jitter` says what its diagonal needed.

        Raises NonFiniteError, NotPositiveDefiniteError.
        """
        lower, jitter = jittered_cholesky(matrix)
        factor = cls(matrix.device)
        factor._write(lower)
        factor.jitter = jitter
        return factor

    @classmethod
    def from_rows(cls, rows: Sequence[Tensor], device: torch.device | None = None) -> "Factor":
        """The factor whose row k holds the k + 1 entries of `rows[k]`."""
        factor = cls(device)
        for row in rows:
            factor._append_row(row.to(factor._device))
        return factor

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(panel.nbytes for panel in self._panels)

    def row(self, k: int) -> Tensor:
        """Row k: k + 1 entries."""
        if not 0 <= k < self._size:
            raise IndexError(f"row {k} of a factor of size {self._size}")
        return self._panels[k // PANEL_ROWS][k % PANEL_ROWS, : k + 1].clone()

    def dense(self) -> Tensor:
        """The factor as one (n, n) matrix."""
        full = torch.zeros((self._size, self._size), dtype=torch.float64, device=self._device)
        for panel, start, stop in self._spans():
            full[start:stop, :stop] = panel[: stop - start, :stop]
        return full

    def diagonal(self) -> Tensor:
        """The n diagonal entries."""
        parts = [panel[: stop - start, start:stop].diagonal() for panel, start, stop in self._spans()]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64, device=self._device)

    def product(self, rhs: Tensor) -> Tensor:
        """A B for B (n, q)."""
        half = torch.zeros_like(rhs)
        for panel, start, stop in self._spans():
            half[:stop] += panel[: stop - start, :stop].mT @ rhs[start:stop]
        return torch.cat(
            [rhs[:0], *(panel[: stop - start, :stop] @ half[:stop] for panel, start, stop in self._spans())]
        )

    def solve_lower(self, rhs: Tensor) -> Tensor:
        """L⁻¹ B for B (n, q)."""
        solution = rhs.clone()
        for panel, start, stop in self._spans():
            rows = stop - start
            if start:
                solution[start:stop] -= panel[:rows, :start] @ solution[:start]
            solution[start:stop] = torch.linalg.solve_triangular(
                panel[:rows, start:stop], solution[start:stop], upper=False
            )
        return solution

    def solve_upper(self, rhs: Tensor) -> Tensor:
        """L⁻ᵀ B for B (n, q)."""
        solution = rhs.clone()
        for panel, start, stop in reversed(list(self._spans())):
            rows = stop - start
            solution[start:stop] = torch.linalg.solve_triangular(
                panel[:rows, start:stop].mT, solution[start:stop], upper=True
            )
            if start:
                solution[:start] -= panel[:rows, :start].mT @ solution[start:stop]
        return solution

    def solve(self, rhs: Tensor) -> Tensor:
        """A⁻¹ B for B (n, q)."""
        return self.solve_upper(self.solve_lower(rhs))

    def append(self, column: Tensor, kappa: float) -> Tensor:
        """Add one row for a point with kernel `column` (n,) to the others and K(x,x) + λ = kappa.

        Returns the new row (n + 1,). Raises NonFiniteError, NotPositiveDefiniteError; the factor is unchanged
        then.
        """
        corner = torch.tensor([[kappa]], dtype=torch.float64, device=self._device)
        return self.append_block(column[:, None], corner)[0]

    def append_block(self, columns: Tensor, corner: Tensor) -> list[Tensor]:
        """Add b rows at once: kernel `columns` (n, b) to the others, `corner` (b, b) with λ on its diagonal.

        Returns the new rows. Raises NonFiniteError, NotPositiveDefiniteError; the factor is unchanged then.
        """
        left = self.solve_lower(columns.double())
        schur = corner.double() - left.mT @ left
        if not torch.isfinite(schur).all():
            raise NonFiniteError("the kernel of a new label has entries that are not finite")
        lower, info = torch.linalg.cholesky_ex(schur)
        if int(info) != 0:
            raise NotPositiveDefiniteError("a new label's Schur complement is not positive: use a larger ridge")
        rows = [torch.cat([left[:, k], lower[k, : k + 1]]) for k in range(len(schur))]
        for row in rows:
            self._append_row(row)
        return rows

    def truncate(self, size: int) -> None:
        """Keep the first `size` rows."""
        self._size = size
        del self._panels[-(-size // PANEL_ROWS) :]
        if size % PANEL_ROWS:
            self._panels[-1][size % PANEL_ROWS :].zero_()

    def _spans(self) -> list[tuple[Tensor, int, int]]:
        return [(panel, k * PANEL_ROWS, min((k + 1) * PANEL_ROWS, self._size)) for k, panel in enumerate(self._panels)]

    def _append_row(self, row: Tensor) -> None:
        if self._size % PANEL_ROWS == 0:
            shape = (PANEL_ROWS, self._size + PANEL_ROWS)
            self._panels.append(torch.zeros(shape, dtype=torch.float64, device=self._device))
        self._panels[-1][self._size % PANEL_ROWS, : self._size + 1] = row
        self._size += 1

    def _write(self, lower: Tensor) -> None:
        for row in range(len(lower)):
            self._append_row(lower[row, : row + 1])
