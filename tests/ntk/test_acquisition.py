"""Acquisition functions against oracles that refit, and the contract they all keep."""

import pytest
import torch

from ntk.acquisition import lookahead, uncertainty
from ntk.errors import NonFiniteError
from ntk.selection import random_choice, top_k
from tests import oracles
from tests.factories import Problem, problem
from tests.ntk.test_posterior import BOUNDS, CASES, build

Tensor = torch.Tensor


def scores(case: Problem, device: torch.device, dtype: torch.dtype, network: bool) -> tuple[Tensor, list[int]]:
    posterior = build(case, device, dtype)
    reference = case.outputs.to(device)[posterior.candidates] if network else None
    found = lookahead.mlmoc(
        posterior.covariance,
        posterior.variance,
        posterior.candidate_outputs,
        reference,
        posterior.column_l1,
    )
    return found.cpu(), posterior.candidates.tolist()


@pytest.mark.parametrize("network", [False, True], ids=["linearized", "network"])
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("arguments", CASES, ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items()))
def test_mlmoc_equals_refitting(
    arguments: dict[str, int], dtype: torch.dtype, network: bool, device: torch.device
) -> None:
    case = problem(**arguments)  # type: ignore[arg-type]
    found, at = scores(case, device, dtype, network)
    ys = [case.labels[k] for k in case.labeled]
    expected = oracles.mlmoc(case.gram, case.outputs, case.ridge, case.labeled, ys, at, network=network)
    assert found.shape == (len(at),)
    assert torch.allclose(found, expected, rtol=BOUNDS[dtype], atol=0)


@pytest.mark.parametrize("network", [False, True], ids=["linearized", "network"])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_equals_refitting_after_each_pick(seed: int, network: bool, device: torch.device) -> None:
    case = problem(seed, items=30, labeled=8)
    posterior = build(case, device)
    before = posterior.covariance.clone()
    picks, values = lookahead.greedy_mlmoc(
        posterior.covariance,
        posterior.variance,
        posterior.candidate_outputs,
        case.outputs.to(device)[posterior.candidates] if network else None,
        posterior.column_l1,
        count=6,
        tie_break=posterior.candidates,
        eligible=torch.ones(posterior.m, dtype=torch.bool, device=device),
    )
    ys = [case.labels[k] for k in case.labeled]
    expected, expected_values = oracles.greedy_mlmoc(
        case.gram, case.outputs, case.ridge, case.labeled, ys, case.candidates, 6, network=network
    )
    assert posterior.candidates[picks].tolist() == expected
    assert torch.allclose(values.cpu(), torch.tensor(expected_values, dtype=torch.float64), rtol=1e-6)
    assert torch.equal(posterior.covariance, before)


def test_greedy_starts_with_the_best_never_repeats_and_keeps_to_the_eligible(device: torch.device) -> None:
    case = problem(5, items=30, labeled=6, duplicates=12)
    posterior = build(case, device)
    arguments = (
        posterior.covariance,
        posterior.variance,
        posterior.candidate_outputs,
        None,
        posterior.column_l1,
    )
    eligible = torch.ones(posterior.m, dtype=torch.bool, device=device)
    eligible[::3] = False
    count = int(eligible.sum())
    picks, _ = lookahead.greedy_mlmoc(*arguments, count=count, tie_break=posterior.candidates, eligible=eligible)
    assert len(set(picks.tolist())) == count
    assert bool(eligible[picks].all())
    single = lookahead.mlmoc(*arguments)
    single[~eligible] = -torch.inf
    assert int(picks[0]) in (single >= single.max() * (1 - 1e-12)).nonzero()[:, 0].tolist()


def test_scores_follow_items_not_their_order(device: torch.device) -> None:
    case = problem(6)
    shuffled = problem(6)
    shuffled.candidates = case.candidates[::-1]
    shuffled.labeled = case.labeled[::-1]
    for network in (False, True):
        one = dict(zip(*reversed(scores(case, device, torch.float64, network)), strict=True))
        other = dict(zip(*reversed(scores(shuffled, device, torch.float64, network)), strict=True))
        assert {k: pytest.approx(float(v), rel=1e-9) for k, v in one.items()} == {k: float(v) for k, v in other.items()}


def test_influence_names_what_would_change(device: torch.device) -> None:
    case = problem(7)
    posterior = build(case, device)
    ys = [case.labels[k] for k in case.labeled]
    f = oracles.refit(case.gram, case.outputs, case.ridge, case.labeled, ys)
    at = posterior.candidates.tolist()
    residual = posterior.candidate_outputs.clone()
    residual[torch.arange(posterior.m), residual.argmax(dim=1)] -= 1
    picks = torch.tensor([3, 0, 11], device=device)
    items, changes = lookahead.influence(posterior.covariance, posterior.variance, residual.norm(dim=1), picks, 4)
    for pick, found, sizes in zip(picks.tolist(), items.tolist(), changes.tolist(), strict=True):
        item = at[pick]
        then = oracles.refit(case.gram, case.outputs, case.ridge, [*case.labeled, item], [*ys, int(f[item].argmax())])
        change = (then - f).norm(dim=1)
        change[item] = -1
        expected = sorted(((float(change[k]), k) for k in at), reverse=True)[:4]
        assert sizes == pytest.approx([size for size, _ in expected])
        assert [at[k] for k in found] == [k for _, k in expected]


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence"])
@pytest.mark.parametrize("classes", [2, 10])
def test_uncertainty_equals_plain_python(name: str, classes: int) -> None:
    outputs = 3 * torch.randn((17, classes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = getattr(uncertainty, name)(outputs)
    expected = [getattr(oracles, name)(row) for row in outputs.tolist()]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 10])
def test_nearest_probabilities(classes: int) -> None:
    outputs = torch.randn((17, classes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs[0] = 0
    outputs[1] = torch.eye(classes, dtype=torch.float64)[1]
    outputs[2] = 50 * torch.eye(classes, dtype=torch.float64)[0]
    huge = uncertainty.nearest_probabilities(1e30 * outputs[2:])
    assert torch.equal(huge, torch.nn.functional.one_hot(outputs[2:].argmax(dim=1), classes).double())
    found = uncertainty.nearest_probabilities(outputs)
    assert torch.allclose(found.sum(dim=1), torch.ones(17, dtype=torch.float64))
    for row, expected in zip(found.tolist(), outputs.tolist(), strict=True):
        assert row == pytest.approx(oracles.nearest_probabilities(expected), abs=1e-9)


def test_entropy_of_certain_outputs_is_zero() -> None:
    assert float(uncertainty.entropy(torch.tensor([[1e4, 0.0, 0.0]], dtype=torch.float64))) == 0.0


def test_top_k_breaks_ties_by_the_given_order() -> None:
    values = torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0])
    assert top_k(values, 4, torch.tensor([0, 9, 4, 1, 7])).tolist() == [2, 4, 1, 3]
    assert top_k(values, 99, torch.arange(5)).tolist() == [1, 2, 4, 3, 0]
    with pytest.raises(NonFiniteError):
        top_k(torch.tensor([1.0, torch.nan]), 1, torch.arange(2))


def test_random_choice_follows_items_not_their_order() -> None:
    tie = torch.tensor([5, 2, 9, 1])
    order = torch.tensor([2, 0, 3, 1])
    one = tie[random_choice(4, 3, torch.Generator().manual_seed(4), tie)]
    other = tie[order][random_choice(4, 3, torch.Generator().manual_seed(4), tie[order])]
    assert torch.equal(one, other)
    assert len(set(one.tolist())) == 3


def test_greedy_gives_no_more_than_is_eligible_and_refuses_nan(device: torch.device) -> None:
    posterior = build(problem(8), device)
    eligible = torch.zeros(posterior.m, dtype=torch.bool, device=device)
    eligible[[2, 5]] = True

    def greedy(column_l1: Tensor) -> list[int]:
        picks, values = lookahead.greedy_mlmoc(
            posterior.covariance,
            posterior.variance,
            posterior.candidate_outputs,
            None,
            column_l1,
            count=5,
            tie_break=posterior.candidates,
            eligible=eligible,
        )
        assert len(values) == len(picks)
        return sorted(picks.tolist())

    assert greedy(posterior.column_l1) == [2, 5]
    with pytest.raises(NonFiniteError):
        greedy(posterior.column_l1 * torch.nan)


def test_influence_has_at_most_the_others(device: torch.device) -> None:
    posterior = build(problem(9), device)
    norms, picks = torch.ones(posterior.m, device=device), torch.tensor([4], device=device)
    items, changes = lookahead.influence(posterior.covariance, posterior.variance, norms, picks, posterior.m + 3)
    assert items.shape == changes.shape == (1, posterior.m - 1)
    assert 4 not in items[0].tolist()
