"""The growing factor against torch.linalg.cholesky of the whole matrix."""

import pytest
import torch

from ntk.errors import NonFiniteError, NotPositiveDefiniteError
from ntk.factor import PANEL_ROWS, Factor
from ntk.linalg import jittered_cholesky

Tensor = torch.Tensor

SIZES = [1, 2, PANEL_ROWS - 1, PANEL_ROWS, PANEL_ROWS + 1, 2 * PANEL_ROWS + 30]


def spd(size: int, device: torch.device, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn((size, size + 5), generator=generator, dtype=torch.float64)
    return (half @ half.mT + torch.eye(size, dtype=torch.float64)).to(device)


@pytest.mark.parametrize("size", SIZES)
def test_grown_equals_whole(size: int, device: torch.device) -> None:
    A = spd(size, device)
    grown = Factor(device)
    for k in range(size):
        row = grown.append(A[:k, k], float(A[k, k]))
        assert row.shape == (k + 1,)
        assert torch.equal(row, grown.row(k))
    expected = torch.linalg.cholesky(A)
    assert len(grown) == size
    assert torch.allclose(grown.dense(), expected, rtol=1e-10, atol=1e-10)
    assert torch.allclose(grown.diagonal(), expected.diagonal(), rtol=1e-10)
    assert torch.equal(Factor.from_gram(A).dense(), expected)


@pytest.mark.parametrize("size", SIZES)
def test_solves(size: int, device: torch.device) -> None:
    A = spd(size, device)
    factor = Factor.from_gram(A)
    rhs = torch.randn((size, 3), dtype=torch.float64, device=device)
    assert torch.allclose(A @ factor.solve(rhs), rhs, atol=1e-7)
    assert torch.allclose(factor.dense() @ factor.solve_lower(rhs), rhs, atol=1e-9)
    assert torch.allclose(factor.dense().mT @ factor.solve_upper(rhs), rhs, atol=1e-9)


def test_block_append_rows_and_truncate(device: torch.device) -> None:
    A = spd(400, device)
    factor = Factor.from_gram(A[:250, :250])
    rows = factor.append_block(A[:250, 250:], A[250:, 250:])
    assert [len(row) for row in rows] == list(range(251, 401))
    expected = torch.linalg.cholesky(A)
    assert torch.allclose(factor.dense(), expected, rtol=1e-10, atol=1e-10)
    again = Factor.from_rows([factor.row(k) for k in range(400)], device)
    assert torch.equal(again.dense(), factor.dense())
    for size in (399, 300, PANEL_ROWS, 10, 0):
        again.truncate(size)
        assert torch.equal(again.dense(), factor.dense()[:size, :size])
    again.append_block(A[:0, :5], A[:5, :5])
    assert torch.allclose(again.dense(), expected[:5, :5])


def test_empty(device: torch.device) -> None:
    factor = Factor.from_gram(torch.empty((0, 0), dtype=torch.float64, device=device))
    assert len(factor) == 0
    assert factor.solve(torch.empty((0, 2), dtype=torch.float64, device=device)).shape == (0, 2)
    assert factor.diagonal().shape == (0,)


def test_a_failed_append_changes_nothing(device: torch.device) -> None:
    A = spd(5, device)
    factor = Factor.from_gram(A)
    before = factor.dense()
    with pytest.raises(NotPositiveDefiniteError):
        factor.append(A[:, 0], float(A[0, 0]) - 1e-9)
    with pytest.raises(NonFiniteError):
        factor.append(A[:, 0], float("nan"))
    assert torch.equal(factor.dense(), before)
    with pytest.raises(IndexError):
        factor.row(5)


def test_jitter_is_reported_and_nan_told_apart(device: torch.device) -> None:
    low_rank = torch.ones((4, 4), dtype=torch.float64, device=device)
    lower, jitter = jittered_cholesky(low_rank)
    assert 0 < jitter <= 1e-4
    assert torch.allclose(lower @ lower.mT, low_rank, atol=2e-4)
    assert jittered_cholesky(spd(4, device))[1] == 0.0
    with pytest.raises(NotPositiveDefiniteError) as caught:
        jittered_cholesky(-low_rank)
    assert caught.value.jitter == pytest.approx(1e-4)
    with pytest.raises(NonFiniteError):
        jittered_cholesky(low_rank * torch.nan)
