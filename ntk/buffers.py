"""Growing square matrices, and the candidates' covariance with what is kept current beside it."""

import torch

Tensor = torch.Tensor

SPARE = 64
# Rows per sweep tile: small enough that the column sums read the updated rows from the cache.
SWEEP_ROWS = 64


class GrowingSquare:
    """A symmetric matrix to which rows and columns are appended; the first growth makes room for more."""

    def __init__(self, matrix: Tensor) -> None:
        self._buffer = matrix
        self._size = len(matrix)

    @property
    def view(self) -> Tensor:
        """(N, N) what is in use."""
        return self._buffer[: self._size, : self._size]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._buffer.nbytes

    def extend(self, columns: Tensor, corner: Tensor) -> None:
        """Append q rows and columns: `columns` (N, q), `corner` (q, q)."""
        old, new = self._size, self._size + len(corner)
        if new > len(self._buffer):
            capacity = new + max(SPARE, new // 8)
            grown = torch.empty((capacity, capacity), dtype=self._buffer.dtype, device=self._buffer.device)
            grown[:old, :old] = self.view
            self._buffer = grown
        self._buffer[:old, old:new] = columns
        self._buffer[old:new, :old] = columns.mT
        self._buffer[old:new, old:new] = corner
        self._size = new


class Covariance:
    """S over the candidates, the leading block of a buffer; removal moves the last one into the gap.

    `errors` is kept beside it: what rounding may have added to each diagonal entry. An update rounds an entry by at
    most its size times the type's precision, and passes earlier errors on as it passes on variances, which only fall.
    """

    def __init__(self, items: Tensor, classes: int, dtype: torch.dtype) -> None:
        self._size = len(items)
        self._items = items.clone()
        self._slots = {item: slot for slot, item in enumerate(items.tolist())}
        self._matrix = torch.empty((self._size, self._size), dtype=dtype, device=items.device)
        self._outputs = torch.zeros((self._size, classes), dtype=torch.float64, device=items.device)
        self._l1 = torch.zeros(self._size, dtype=torch.float64, device=items.device)
        self._errors = torch.zeros(self._size, dtype=torch.float64, device=items.device)
        self._eps = torch.finfo(dtype).eps

    def __len__(self) -> int:
        return self._size

    @property
    def items(self) -> Tensor:
        """(m,) window indices."""
        return self._items[: self._size]

    @property
    def matrix(self) -> Tensor:
        """(m, m) covariance."""
        return self._matrix[: self._size, : self._size]

    @property
    def outputs(self) -> Tensor:
        """(m, C) float64."""
        return self._outputs[: self._size]

    @property
    def column_l1(self) -> Tensor:
        """(m,) float64 sums of absolute values."""
        return self._l1[: self._size]

    @property
    def diagonal(self) -> Tensor:
        """(m,) float64 variances, as stored."""
        return self.matrix.diagonal().double()

    @property
    def errors(self) -> Tensor:
        """(m,) float64 bounds on the rounding errors of the diagonal, and by √(eᵢ eⱼ) of all other entries."""
        return self._errors[: self._size]

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._matrix.nbytes + self._outputs.nbytes + self._l1.nbytes + self._errors.nbytes

    def slot(self, item: int) -> int | None:
        """Where a window index stands among the candidates, if it does."""
        return self._slots.get(item)

    def remove(self, slot: int) -> Tensor:
        """Take a candidate out; returns its covariances with those that remain, (m - 1,), in their new order.

        `column_l1` still counts the removed candidate: sweep, or subtract it, next.
        """
        last = self._size - 1
        column = self._matrix[: self._size, slot].clone()
        del self._slots[int(self._items[slot])]
        if slot != last:
            moved = self._matrix[last, : self._size].clone()
            moved[slot] = moved[last]
            self._matrix[slot, : self._size] = moved
            self._matrix[: self._size, slot] = moved
            for vector in (self._items, self._outputs, self._l1, self._errors, column):
                vector[slot] = vector[last]
            self._slots[int(self._items[slot])] = slot
        self._size = last
        return column[:last]

    def add(self, items: Tensor, columns: Tensor, outputs: Tensor) -> None:
        """Append q candidates: `columns` (m + q, q) covariances with all, `outputs` (q, C)."""
        old, new = self._size, self._size + len(items)
        if new > len(self._matrix):
            self._grow(new + max(SPARE, new // 8))
        self._matrix[:new, old:new] = columns
        self._matrix[old:new, :new] = columns.mT
        self._items[old:new] = items
        self._outputs[old:new] = outputs
        self._slots.update(zip(items.tolist(), range(old, new), strict=True))
        self._l1[:old] += columns[:old].abs().sum(dim=1)
        self._l1[old:new] = columns.abs().sum(dim=0)
        self._errors[old:new] = self._eps * columns[old:].diagonal().abs()
        self._size = new

    def add_classes(self, count: int) -> None:
        """Append `count` classes, with outputs of 0."""
        self._outputs = torch.nn.functional.pad(self._outputs, (0, count))

    def set_rows(self, rows: slice, values: Tensor) -> None:
        """Replace whole rows (r, m); their sums follow."""
        self.matrix[rows] = values.to(self._matrix.dtype)
        self._l1[rows] = values.abs().sum(dim=1)
        self._errors[rows] = self._eps * self.diagonal[rows].abs()

    def set_columns(self, slots: Tensor, columns: Tensor) -> None:
        """Replace the columns and rows (m, q) of some candidates (q,); the sums follow."""
        columns = columns.to(self._matrix.dtype)
        before = self.matrix[:, slots].double().abs().sum(dim=1)
        self.matrix[:, slots] = columns
        self.matrix[slots] = columns.mT
        self.column_l1.add_(self.matrix[:, slots].double().abs().sum(dim=1) - before)
        self._l1[slots] = columns.double().abs().sum(dim=0)
        self._errors[slots] = self._eps * self.diagonal[slots].abs()

    def rank_one(self, change: Tensor, scale: float, residual: Tensor | None) -> None:
        """S += scale c cᵀ and, with a residual (C,), f += c residualᵀ, in one sweep that renews the sums."""
        matrix, c = self.matrix, change.to(self._matrix.dtype)
        largest = self.diagonal
        scaled = scale * c
        for start in range(0, self._size, SWEEP_ROWS):
            rows = slice(start, min(start + SWEEP_ROWS, self._size))
            tile = matrix[rows]
            tile.addr_(scaled[rows], c)
            self._l1[rows] = torch.linalg.vector_norm(tile, ord=1, dim=1)
        self.errors.add_(torch.maximum(largest.abs(), self.diagonal.abs()), alpha=self._eps)
        if residual is not None:
            self.outputs.addr_(c.double(), residual)

    def subtract_gram(self, half: Tensor) -> None:
        """S −= HᵀH for H (b, m); the sums are renewed."""
        half = half.to(self._matrix.dtype)
        # Sums of b products round more than one does, by chance as √b.
        self.errors.add_(self.diagonal.abs(), alpha=self._eps * (1 + len(half) ** 0.5))
        for start in range(0, self._size, 8 * SWEEP_ROWS):
            rows = slice(start, min(start + 8 * SWEEP_ROWS, self._size))
            tile = self.matrix[rows]
            tile.addmm_(half[:, rows].mT, half, alpha=-1)
            self._l1[rows] = torch.linalg.vector_norm(tile, ord=1, dim=1).double()

    def _grow(self, capacity: int) -> None:
        def grown(old: Tensor, shape: tuple[int, ...]) -> Tensor:
            return torch.zeros(shape, dtype=old.dtype, device=old.device)

        matrix = grown(self._matrix, (capacity, capacity))
        matrix[: self._size, : self._size] = self.matrix
        items = grown(self._items, (capacity,))
        items[: self._size] = self.items
        outputs = grown(self._outputs, (capacity, self._outputs.shape[1]))
        outputs[: self._size] = self.outputs
        sums = grown(self._l1, (capacity,))
        sums[: self._size] = self.column_l1
        errors = grown(self._errors, (capacity,))
        errors[: self._size] = self.errors
        self._matrix, self._items, self._outputs, self._l1, self._errors = matrix, items, outputs, sums, errors
