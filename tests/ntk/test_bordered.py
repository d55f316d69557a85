"""Bordered kernels against eigenvalues and determinants of whole matrices."""

import math
from collections.abc import Callable

import pytest
import torch

from ntk.acquisition.bordered import Bordered, LogDeterminant

Tensor = torch.Tensor
RIDGE = 0.01


def kernel(seed: int, items: int, features: int, mean: float = 0.5) -> Tensor:
    """φφᵀ of random features, (N, N)."""
    generator = torch.Generator().manual_seed(seed)
    phi = torch.randn((items, features), generator=generator, dtype=torch.float64) + mean
    return phi @ phi.mT


def bordered(gram: Tensor, n: int, device: torch.device) -> Bordered:
    gram = gram.to(device)
    return Bordered(gram[:n, :n], gram[:n, n:], gram[n:, n:])


def smallest(gram: Tensor, n: int, subset: list[int]) -> float:
    """λ_min of the whole matrix."""
    at = [*range(n), *(n + k for k in subset)]
    return float(torch.linalg.eigvalsh(gram[at][:, at])[0])


def log_det(gram: Tensor, n: int, subset: list[int], ridge: float) -> float:
    """log det of the whole matrix less that of the labeled part: the Schur complement's."""

    def of(at: list[int]) -> float:
        return float(torch.linalg.slogdet(gram[at][:, at] + ridge * torch.eye(len(at), dtype=gram.dtype))[1])

    return of([*range(n), *(n + k for k in subset)]) - of(list(range(n)))


def some_subsets(m: int, count: int, number: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(m, generator=generator)[:count] for _ in range(number)])


def duplicated(gram: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """Item b becomes a copy of item a."""
    at = list(range(len(gram)))
    for a, b in pairs:
        at[b] = a
    return gram[at][:, at]


KERNELS: dict[str, tuple[Callable[[], Tensor], int, int]] = {
    "many features": (lambda: kernel(0, 40, 400), 12, 5),
    "barely full rank": (lambda: kernel(1, 40, 18), 12, 5),
    "rank below n + Q": (lambda: kernel(2, 40, 14), 12, 5),
    "rank below n": (lambda: kernel(3, 40, 6), 12, 5),
    "rank below Q, nothing labeled": (lambda: kernel(3, 40, 3), 0, 5),
    "nothing labeled": (lambda: kernel(4, 40, 60), 0, 5),
    "one labeled": (lambda: kernel(5, 40, 60), 1, 5),
    "one candidate": (lambda: kernel(6, 13, 60), 12, 1),
    "subsets of one": (lambda: kernel(7, 40, 60), 12, 1),
    "copies of labeled items": (lambda: duplicated(kernel(8, 40, 60), [(0, 20), (1, 21), (3, 22)]), 12, 20),
    "copies among labeled items": (lambda: duplicated(kernel(9, 40, 60), [(0, 1), (2, 3)]), 12, 5),
    "copies among candidates": (lambda: duplicated(kernel(10, 40, 60), [(20, 21), (22, 23)]), 12, 20),
    "all candidates equal": (lambda: duplicated(kernel(11, 40, 60), [(12, k) for k in range(13, 40)]), 12, 1),
    "unrelated items": (lambda: torch.diag(torch.arange(1.0, 41, dtype=torch.float64)), 12, 5),
    "equal unrelated items": (lambda: torch.eye(40, dtype=torch.float64), 12, 5),
    "zero": (lambda: torch.zeros((40, 40), dtype=torch.float64), 12, 5),
    "small scale": (lambda: 1e-9 * kernel(12, 40, 60), 12, 5),
    "nearly copied labels": (lambda: kernel(13, 40, 60) + 1e-7 * kernel(14, 40, 60), 30, 5),
    "far from positive": (lambda: kernel(15, 40, 60) - 50 * torch.eye(40, dtype=torch.float64), 12, 5),
    "many labeled": (lambda: kernel(16, 150, 170), 120, 30),
}


@pytest.mark.parametrize("name", KERNELS)
def test_smallest_eigenvalues_equal_those_of_whole_matrices(name: str, device: torch.device) -> None:
    make, n, count = KERNELS[name]
    gram = make()
    subsets = some_subsets(len(gram) - n, count, 20)
    border = bordered(gram, n, device)
    found = border.smallest_eigenvalues(subsets.to(device)).cpu()
    expected = torch.tensor([smallest(gram, n, subset) for subset in subsets.tolist()], dtype=torch.float64)
    assert found.shape == (20,)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12 * float(gram.diagonal().abs().max()))
    if border.labeled_value is not None:
        assert bool((found <= border.labeled_value).all())


@pytest.mark.parametrize("name", KERNELS)
def test_the_best_subset_is_the_first_with_the_largest(name: str, device: torch.device) -> None:
    make, n, count = KERNELS[name]
    gram = make()
    subsets = some_subsets(len(gram) - n, count, 50)
    index, value = bordered(gram, n, device).best_subset(subsets.to(device))
    values = [smallest(gram, n, subset) for subset in subsets.tolist()]
    error = 2e-12 * float(gram.diagonal().abs().max())
    assert value == pytest.approx(max(values), rel=0, abs=error)
    assert values[index] >= max(values) - error
    assert max(values[:index], default=-math.inf) < values[index]


def test_tiles_do_not_change_results(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    gram = kernel(20, 40, 30)
    subsets = some_subsets(28, 4, 33).to(device)
    border = bordered(gram, 12, device)
    values, best = border.smallest_eigenvalues(subsets), border.best_subset(subsets)
    determinants = border.log_determinants(subsets, RIDGE)
    monkeypatch.setattr("ntk.acquisition.bordered.TILE_ENTRIES", 700)
    assert len(border._tiles(subsets)) > 5
    assert torch.allclose(border.smallest_eigenvalues(subsets), values, rtol=1e-12, atol=0)
    assert border.best_subset(subsets)[0] == best[0]
    assert torch.allclose(border.log_determinants(subsets, RIDGE), determinants, rtol=1e-12, atol=0)


def test_ties_go_to_the_earlier_subset(device: torch.device) -> None:
    gram = duplicated(kernel(21, 20, 40), [(k, k + 5) for k in range(10, 15)])
    border = bordered(gram, 10, device)
    subsets = torch.tensor([[0, 1], [2, 3], [4, 0], [2, 4], [5, 6], [7, 8], [9, 0], [7, 9]], device=device)
    index, _ = border.best_subset(subsets)
    assert index < 4
    assert border.best_subset(subsets[[4, 5, 6, 7, 0, 1, 2, 3]])[0] == index
    by_determinant = LogDeterminant(border, RIDGE)
    first, _ = by_determinant.best_subset(subsets)
    assert first < 4
    assert by_determinant.best_subset(subsets[[4, 5, 6, 7, 0, 1, 2, 3]])[0] == first


def test_candidates_by_blocks(device: torch.device) -> None:
    gram = kernel(22, 30, 40).to(device)
    own = gram[10:, 10:]
    asked = []

    def blocks(rows: Tensor, columns: Tensor) -> Tensor:
        asked.append((rows.shape, columns.shape))
        return own[rows[:, :, None], columns[:, None, :]]

    one, other = Bordered(gram[:10, :10], gram[:10, 10:], blocks), bordered(gram, 10, device)
    subsets = some_subsets(20, 3, 9).to(device)
    picks = torch.tensor([4, 2], device=device)
    for a, b in ((one, other), (one.extended(picks), other.extended(picks))):
        assert torch.equal(a.smallest_eigenvalues(subsets), b.smallest_eigenvalues(subsets))
    assert asked[0] == ((20, 1), (20, 1))


def test_extended_is_the_same_with_more_labels(device: torch.device) -> None:
    gram = kernel(23, 30, 40)
    grown = bordered(gram, 10, device).extended(torch.tensor([3, 0], device=device))
    subsets = torch.tensor([[1, 2], [4, 5], [6, 19]], device=device)
    expected = [smallest(gram, 10, [3, 0, *subset]) for subset in subsets.tolist()]
    assert grown.smallest_eigenvalues(subsets).tolist() == pytest.approx(expected, rel=1e-11)
    spectrum = bordered(gram, 10, device).spectrum(subsets[0]).cpu()
    at = [*range(10), 11, 12]
    assert torch.allclose(spectrum, torch.linalg.eigvalsh(gram[at][:, at]), rtol=1e-10)


@pytest.mark.parametrize("features", [6, 60])
@pytest.mark.parametrize("n", [0, 1, 12])
def test_log_determinants_equal_dense_ones(n: int, features: int, device: torch.device) -> None:
    gram = kernel(24, 40, features)
    subsets = some_subsets(40 - n, 8, 10)
    found = bordered(gram, n, device).log_determinants(subsets.to(device), RIDGE)
    assert found.tolist() == pytest.approx([log_det(gram, n, q, RIDGE) for q in subsets.tolist()], rel=1e-8)
