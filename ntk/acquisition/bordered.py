"""A labeled kernel bordered by candidates: smallest eigenvalues and determinants for many subsets of them.

Source: [NPC] "A Neural Pre-Conditioning Active Learning Algorithm to Reduce Label Complexity", NeurIPS 2022, which
maximises λ_min(K(L ∪ q)); how it is found here is the Schur complement's. With K_LL = V Λ Vᵀ and B = Vᵀ K_LU,

    T(λ) = K_qq − λI − B_qᵀ (Λ − λ)⁻¹ B_q          (Q, Q)

is positive definite exactly when λ < λ_min of the bordered matrix, for λ < λ_min(K_LL). So one decomposition serves
all subsets, "better than the best so far" is one small Cholesky factorization, and T(−ridge) is the covariance of the
candidates given the labeled items. A matrix of n + Q rows is made for the subset that is picked only.
"""

from collections.abc import Callable
from copy import copy

import torch

from ntk.errors import NonFiniteError, NotPositiveDefiniteError
from ntk.kernel import Tick, nothing, tile_plan

Tensor = torch.Tensor
# rows (s, a), columns (s, b) of candidates -> their kernel, (s, a, b)
Blocks = Callable[[Tensor, Tensor], Tensor]

TILE_ENTRIES = 1 << 20
# The lowest directions of K_LL stay beside the candidates: their poles, near the root, would slow Newton's steps.
_KEPT = 8
_STEPS_MAX = 200
_EPS = torch.finfo(torch.float64).eps


class Bordered:
    """K_LL, decomposed, with candidates to border it with. n may be 0."""

    def __init__(
        self,
        labeled_gram: Tensor,  # (n, n) K_LL
        cross: Tensor,  # (n, m) K_LU
        candidate_gram: Tensor | Blocks,  # (m, m) K_UU
        on_tile: Tick = nothing,
    ) -> None:
        """O(n³ + n²m). All is computed in float64; `on_tile` is called now and then.

        Raises ValueError where shapes do not fit, NonFiniteError where an entry is NaN or infinite.
        """
        n = len(labeled_gram)
        if labeled_gram.shape != (n, n) or cross.ndim != 2 or len(cross) != n:
            raise ValueError(
                f"the labeled kernel is {tuple(labeled_gram.shape)} and the cross kernel {tuple(cross.shape)}: "
                "they have to be (n, n) and (n, m)"
            )
        m = cross.shape[1]
        if isinstance(candidate_gram, Tensor) and candidate_gram.shape != (m, m):
            raise ValueError(f"the candidates' kernel is {tuple(candidate_gram.shape)}: it has to be {(m, m)}")
        stored = [labeled_gram, cross, *([candidate_gram] if isinstance(candidate_gram, Tensor) else [])]
        if not all(bool(torch.isfinite(part).all()) for part in stored):
            raise NonFiniteError("the kernel has entries that are not finite")
        self.eps = max(torch.finfo(part.dtype).eps for part in stored)  # of the narrowest type that entries came in
        self._candidate_gram = candidate_gram
        self._on_tile = on_tile
        items = torch.arange(m, device=cross.device)[:, None]
        own = self._own(items, items)[:, 0, 0]
        largest = torch.cat([own, labeled_gram.diagonal().double()]).abs()
        self._scale = (float(largest.max()) if len(largest) else 0.0) or 1.0
        self._decompose(labeled_gram.double(), cross.double())

    def _decompose(self, gram: Tensor, cross: Tensor) -> None:
        self.eigenvalues, vectors = torch.linalg.eigh(gram)  # (n,) Λ, ascending
        self._rows = cross.mT @ vectors  # (m, n) Bᵀ
        self._on_tile()

    @property
    def size(self) -> int:
        """m."""
        return len(self._rows)

    @property
    def labeled_value(self) -> float | None:
        """λ_min(K_LL), which no subset exceeds (interlacing); None where nothing is labeled."""
        return float(self.eigenvalues[0]) if len(self.eigenvalues) else None

    def extended(self, indices: Tensor) -> "Bordered":
        """With candidates (a,) among the labeled items; candidates keep their indices. O((n + a)² (n + a + m))."""
        grown = copy(self)
        everyone = torch.arange(self.size, device=self._rows.device)
        cross = torch.cat([self._rows.mT, self._own(indices[None], everyone[None])[0]])
        grown._decompose(self._whole(indices), cross)
        return grown

    def spectrum(self, indices: Tensor) -> Tensor:
        """All eigenvalues of K(L ∪ q), (n + Q,), ascending; `indices` (Q,)."""
        found: Tensor = torch.linalg.eigvalsh(self._whole(indices))
        return found

    def smallest_eigenvalues(self, subsets: Tensor) -> Tensor:
        """λ_min(K(L ∪ q)) of every row q of `subsets` (s, Q), (s,).

        Exact to about 1e-12 of the largest diagonal entry, or to what float64 gives for n + Q rows where that is more.
        """
        values = torch.empty(len(subsets), dtype=torch.float64, device=self._rows.device)
        for tile in self._tiles(subsets):
            values[tile] = self._roots(subsets[tile])
            self._on_tile()
        return values

    def best_subset(self, subsets: Tensor) -> tuple[int, float]:
        """(row, λ_min) of the best of `subsets` (s, Q), s > 0; the earlier of rows that tie.

        Only improvements are solved for: the others fail one Cholesky factorization.
        """
        index, best = 0, float(self._roots(subsets[:1])[0])
        step = self._tolerance(subsets.shape[1])
        for tile in self._tiles(subsets):
            left = torch.arange(max(tile.start, 1), tile.stop, device=subsets.device)
            left = left[self.exceeds(subsets[left], best + step)]
            while len(left):
                index, best = int(left[0]), float(self._roots(subsets[left[:1]])[0])
                left = left[1:][self.exceeds(subsets[left[1:]], best + step)]
            self._on_tile()
        return index, best

    def exceeds(self, subsets: Tensor, level: float) -> Tensor:
        """Whether λ_min(K(L ∪ q)) > `level`, (s,) bool, for a tile of subsets (s, Q): memory goes with s Q (n + Q)."""
        if len(self.eigenvalues) and level >= float(self.eigenvalues[0]):
            return torch.zeros(len(subsets), dtype=torch.bool, device=subsets.device)
        _, info = torch.linalg.cholesky_ex(self._schur(subsets, level))
        positive: Tensor = info == 0
        return positive

    def log_determinants(self, subsets: Tensor, ridge: float) -> Tensor:
        """log det(K_qq + ridge·I − K_qL (K_LL + ridge·I)⁻¹ K_Lq) of every row of `subsets` (s, Q), (s,).

        Raises NotPositiveDefiniteError where rounding outweighs the ridge.
        """
        values = torch.empty(len(subsets), dtype=torch.float64, device=self._rows.device)
        positive = len(self.eigenvalues) == 0 or float(self.eigenvalues[0]) + ridge > 0
        for tile in self._tiles(subsets):
            factor, info = torch.linalg.cholesky_ex(self._schur(subsets[tile], -ridge))
            if not positive or bool((info != 0).any()):
                raise NotPositiveDefiniteError(
                    f"the candidates' covariance is not positive definite with the ridge {ridge:.3g}: use a larger one"
                )
            values[tile] = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
            self._on_tile()
        return values

    def _own(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The candidates' kernel, (s, a, b), float64, for rows (s, a) and columns (s, b)."""
        if isinstance(self._candidate_gram, Tensor):
            return self._candidate_gram[rows[:, :, None], columns[:, None, :]].double()
        return self._candidate_gram(rows, columns).double()

    def _whole(self, indices: Tensor) -> Tensor:
        """K(L ∪ q) in the basis in which K_LL is diagonal, (n + Q, n + Q)."""
        rows = self._rows[indices]
        own = self._own(indices[None], indices[None])[0]
        return torch.cat([torch.cat([self.eigenvalues.diag(), rows.mT], dim=1), torch.cat([rows, own], dim=1)])

    def _schur(self, subsets: Tensor, level: float) -> Tensor:
        """T(level), (s, Q, Q)."""
        scaled = self._rows[subsets].mul_((self.eigenvalues - level).rsqrt())
        schur = torch.baddbmm(self._own(subsets, subsets), scaled, scaled.mT, alpha=-1)
        schur.diagonal(dim1=1, dim2=2).sub_(level)
        return schur

    def _tolerance(self, count: int) -> float:
        return self._scale * max(2e-13, _EPS * (len(self.eigenvalues) + count))

    def _tiles(self, subsets: Tensor) -> list[slice]:
        count = subsets.shape[1]
        entries = count * (2 * len(self.eigenvalues) + 4 * count)
        return [slice(*ends) for ends in tile_plan(len(subsets), max(1, TILE_ENTRIES // max(entries, 1)))]

    def _roots(self, subsets: Tensor) -> Tensor:
        """The λ at which the smallest eigenvalue μ of T(λ) is 0, (s,), for a tile (s, Q).

        μ is concave and falls at least as fast as −λ: λ + min(μ, 0) is a lower bound, Newton's step an upper one
        (it is a Rayleigh quotient of the bordered matrix). Where the two do not close in, the next λ halves them.
        """
        tolerance = self._tolerance(subsets.shape[1])
        kept = min(_KEPT, len(self.eigenvalues))
        inner, rows = self._inner(subsets, kept), self._rows[subsets][..., kept:]
        rest = self.eigenvalues[kept:]
        ceiling = float(self.eigenvalues[0]) if kept else torch.inf
        pole = float(rest[0]) - tolerance / 2 if len(rest) else torch.inf
        values = torch.empty(len(subsets), dtype=torch.float64, device=subsets.device)
        active = torch.arange(len(subsets), device=subsets.device)
        at = torch.full_like(values, min(0.0, ceiling - tolerance))
        low, high = torch.full_like(values, -torch.inf), torch.full_like(values, ceiling)
        for _ in range(_STEPS_MAX):
            mu, newton = _newton(inner, rows, rest, at)
            width = high - low
            low, high = torch.maximum(low, at + mu.clamp(max=0)), torch.minimum(high, newton)
            values[active] = high
            going = high - low > tolerance
            if not bool(going.any()):
                break
            halved = high - low <= width / 2
            at = torch.where(halved, high, (low + high) / 2).clamp(max=pole)
            active, at, low, high = active[going], at[going], low[going], high[going]
            if not bool(going.all()):
                inner, rows = inner[going], rows[going]
        return values

    def _inner(self, subsets: Tensor, kept: int) -> Tensor:
        """The lower triangle of [[Λ_kept, B_kept,q], [., K_qq]], (s, kept + Q, kept + Q)."""
        own = self._own(subsets, subsets)
        count = kept + subsets.shape[1]
        inner = own.new_zeros((len(subsets), count, count))
        inner[:, :kept, :kept] = self.eigenvalues[:kept].diag()
        inner[:, kept:, :kept] = self._rows[subsets][..., :kept]
        inner[:, kept:, kept:] = own
        return inner


def _newton(inner: Tensor, rows: Tensor, rest: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """μ(at) and Newton's next λ, (s,) each; `inner` (s, k + Q, k + Q), `rows` (s, Q, n − k), `rest` (n − k,)."""
    gaps = rest - at[:, None]
    scaled = rows * gaps.rsqrt()[:, None, :]
    schur = inner.clone()
    schur.diagonal(dim1=1, dim2=2).sub_(at[:, None])
    first = inner.shape[1] - rows.shape[1]
    schur[:, first:, first:] -= scaled @ scaled.mT
    values, vectors = torch.linalg.eigh(schur)
    lifted = (scaled.mT @ vectors[:, first:, :1])[..., 0] * gaps.rsqrt()
    mu = values[:, 0]
    return mu, at + mu / (1 + lifted.square().sum(dim=1))


class LogDeterminant:
    """The same choice of a subset by the log-determinant of the candidates' covariance given the labeled items."""

    def __init__(self, bordered: Bordered, ridge: float) -> None:
        self._bordered = bordered
        self._ridge = ridge

    def best_subset(self, subsets: Tensor) -> tuple[int, float]:
        """(row, log det) of the best of `subsets` (s, Q), s > 0; the earlier of rows that tie.

        Raises NotPositiveDefiniteError where rounding outweighs the ridge.
        """
        values = self._bordered.log_determinants(subsets, self._ridge)
        best = values.max()
        tied = values >= best - 1e-12 * best.abs().clamp(min=1)
        index = int(tied.nonzero()[0, 0])
        return index, float(values[index])

    def extended(self, indices: Tensor) -> "LogDeterminant":
        """With candidates (a,) among the labeled items."""
        return LogDeterminant(self._bordered.extended(indices), self._ridge)
