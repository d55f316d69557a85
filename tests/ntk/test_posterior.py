"""The live posterior against refits from scratch, through every way a label can come and go."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk.errors import NotPositiveDefiniteError
from ntk.posterior import Posterior
from tests import oracles
from tests.factories import Problem, problem
from tests.ntk.conftest import DEVICE

Tensor = torch.Tensor

CASES = [
    {"seed": 0},
    {"seed": 1, "classes": 2, "ridge": 1e-4},
    {"seed": 2, "classes": 10, "items": 60, "labeled": 30, "ridge": 1.0},
    {"seed": 3, "labeled": 0},
    {"seed": 4, "labeled": 39, "ridge": 1e-3},
    {"seed": 5, "duplicates": 10},
]
BOUNDS = {torch.float64: 1e-5, torch.float32: 1e-3}


def build(case: Problem, device: torch.device, dtype: torch.dtype = torch.float64) -> Posterior:
    def indices(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Posterior(
        case.gram.to(device, dtype),
        case.outputs.to(device),
        case.ridge,
        labeled=indices(case.labeled),
        labels=indices([case.labels[k] for k in case.labeled]),
        candidates=indices(case.candidates),
    )


def check(found: Posterior, case: Problem, labels: dict[int, int], bound: float = 1e-8) -> None:
    """Everything the posterior holds equals a refit with these labels, in its own factor order."""
    labeled = found.labeled.tolist()
    assert sorted(labeled) == sorted(labels)
    assert found.labels.tolist() == [labels[k] for k in labeled]
    ys = [labels[k] for k in labeled]
    f = oracles.refit(case.gram, case.outputs, case.ridge, labeled, ys)
    S = oracles.covariance(case.gram, case.ridge, labeled)
    at = found.candidates.cpu()
    assert found.covariance.shape == (found.m, found.m)
    scale = float(case.gram.diagonal().max())

    def close(a: Tensor, b: Tensor, atol: float) -> None:
        assert a.shape == b.shape
        assert torch.allclose(a.cpu().double(), b, rtol=bound, atol=atol)

    close(found.covariance, S[at][:, at], bound * scale)
    close(found.column_l1, S[at][:, at].abs().sum(dim=0), bound * scale * max(1, found.m))
    close(found.variance, S[at, at] + case.ridge, bound * scale)
    close(found.candidate_outputs, f[at], bound)
    everyone = torch.arange(len(case.gram), device=found.candidates.device)
    close(found.outputs_of(everyone), f, bound)
    A = case.gram[labeled][:, labeled] + case.ridge * torch.eye(len(labeled), dtype=torch.float64)
    close(found.factor.dense(), torch.linalg.cholesky(A), bound * math.sqrt(scale))
    if labeled:
        close(
            found.leave_one_out(),
            oracles.leave_one_out(case.gram, case.outputs, case.ridge, labeled, ys),
            bound,
        )


@pytest.fixture(params=CASES, ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items()))
def case(request: pytest.FixtureRequest) -> Problem:
    return problem(**request.param)


def test_from_scratch(case: Problem, device: torch.device) -> None:
    check(build(case, device), case, {k: case.labels[k] for k in case.labeled})


def test_every_candidate_streamed(case: Problem, device: torch.device) -> None:
    posterior = build(case, device)
    labels = {k: case.labels[k] for k in case.labeled}
    for index in case.candidates:
        row = posterior.label(index, case.labels[index])
        labels[index] = case.labels[index]
        assert row.shape == (posterior.n,)
    assert posterior.m == 0
    check(posterior, case, labels)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fifty_streamed_labels(dtype: torch.dtype, device: torch.device) -> None:
    case = problem(7, items=150, labeled=20, classes=4, features=12)
    posterior = build(case, device, dtype)
    labels = {k: case.labels[k] for k in case.labeled}
    for index in case.candidates[:50]:
        posterior.label(index, case.labels[index])
        labels[index] = case.labels[index]
    check(posterior, case, labels, bound=1e-8 if dtype == torch.float64 else 1e-4)
    assert posterior.drift < 1e-3


def test_many_at_once_equal_one_by_one(case: Problem, device: torch.device) -> None:
    posterior = build(case, device)
    new = case.candidates[: len(case.candidates) // 2]
    rows = posterior.label_many(new, [case.labels[k] for k in new])
    assert rows == range(len(case.labeled), len(case.labeled) + len(new))
    check(posterior, case, {k: case.labels[k] for k in [*case.labeled, *new]})
    posterior.label_many([], [])


def test_relabel_changes_the_right_hand_side_only(device: torch.device) -> None:
    case = problem(8)
    posterior = build(case, device)
    before, covariance = posterior.factor.dense(), posterior.covariance.clone()
    labels = {k: case.labels[k] for k in case.labeled}
    for index in case.labeled[::3]:
        labels[index] = (labels[index] + 1) % 3
        posterior.relabel(index, labels[index])
    assert torch.equal(posterior.factor.dense(), before)
    assert torch.equal(posterior.covariance, covariance)
    check(posterior, case, labels)


@pytest.mark.parametrize("place", [0, 5, 11])
def test_withdraw_rebuilds_the_tail(place: int, device: torch.device) -> None:
    case = problem(9)
    posterior = build(case, device)
    index = case.labeled[place]
    kept = [posterior.factor.row(k) for k in range(place)]
    k, rows = posterior.withdraw(index)
    assert k == place
    assert len(rows) == len(case.labeled) - 1 - place
    assert all(torch.equal(row, posterior.factor.row(i)) for i, row in enumerate(kept))
    labels = {i: case.labels[i] for i in case.labeled if i != index}
    check(posterior, case, labels)
    assert index not in posterior.candidates.tolist()
    posterior.add_candidates([index])
    assert index in posterior.candidates.tolist()
    check(posterior, case, labels)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(2, 6),
    ridge=st.sampled_from([1e-4, 1e-2, 1.0]),
    labeled=st.integers(0, 20),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 29)), max_size=25),
)
def test_any_sequence_equals_a_refit(
    seed: int, classes: int, ridge: float, labeled: int, steps: list[tuple[int, int]]
) -> None:
    case = problem(seed, items=30, labeled=labeled, classes=classes, ridge=ridge)
    posterior = build(case, DEVICE)
    labels = {k: case.labels[k] for k in case.labeled}
    skipped: set[int] = set()
    for kind, item in steps:
        if item in labels and kind < 2:
            labels[item] = (labels[item] + 1) % classes
            posterior.relabel(item, labels[item])
        elif item in labels:
            posterior.withdraw(item)
            posterior.add_candidates([item])
            del labels[item]
        elif item in skipped:
            posterior.add_candidates([item])
            skipped.remove(item)
        elif kind == 0:
            posterior.remove_candidate(item)
            skipped.add(item)
        else:
            posterior.label(item, case.labels[item])
            labels[item] = case.labels[item]
    assert set(posterior.candidates.tolist()) == set(range(30)) - set(labels) - skipped
    check(posterior, case, labels, bound=1e-7)


def test_extend_brings_items_into_the_window(device: torch.device) -> None:
    case = problem(10, items=40)
    window = 30
    inside = [k for k in case.candidates if k < window]
    posterior = Posterior(
        case.gram[:window, :window].clone().to(device),
        case.outputs[:window].to(device),
        case.ridge,
        labeled=torch.tensor([k for k in case.labeled if k < window], device=device),
        labels=torch.tensor([case.labels[k] for k in case.labeled if k < window], device=device),
        candidates=torch.tensor(inside, device=device),
    )
    for start, stop in ((30, 31), (31, 40)):
        columns, corner = case.gram[:start, start:stop], case.gram[start:stop, start:stop]
        indices = posterior.extend(columns.to(device), corner.to(device), case.outputs[start:stop].to(device))
        assert indices == list(range(start, stop))
    posterior.label(30, case.labels[30])
    posterior.label_many([31, inside[0], 35], [case.labels[k] for k in (31, inside[0], 35)])
    posterior.add_candidates([39])
    labels = {k: case.labels[k] for k in [*[k for k in case.labeled if k < window], 30, 31, inside[0], 35]}
    check(posterior, case, labels)


def test_outputs_outside_the_window(device: torch.device) -> None:
    case = problem(11, items=40, labeled=12)
    posterior = build(case, device)
    outside = torch.tensor(case.candidates[:5])
    cross = case.gram[outside][:, posterior.labeled.cpu()].to(device)
    found = posterior.outputs_outside(cross, case.outputs[outside].to(device))
    assert torch.allclose(found, posterior.outputs_of(outside.to(device)))


def test_drift_refreshes_from_the_factor(device: torch.device) -> None:
    case = problem(12)
    posterior = build(case, device)
    posterior.covariance.mul_(1.01)
    index = case.candidates[0]
    posterior.label(index, case.labels[index])
    assert posterior.refreshes == 1
    check(posterior, case, {k: case.labels[k] for k in [*case.labeled, index]})


def test_one_candidate_and_leave_one_out_accuracy(device: torch.device) -> None:
    case = problem(13, items=13, labeled=12)
    posterior = build(case, device)
    assert posterior.m == 1
    expected = oracles.leave_one_out(
        case.gram, case.outputs, case.ridge, case.labeled, [case.labels[k] for k in case.labeled]
    )
    right = [int(row.argmax()) == case.labels[k] for row, k in zip(expected, case.labeled, strict=True)]
    assert posterior.leave_one_out_accuracy() == pytest.approx(sum(right) / len(right))
    assert math.isnan(build(problem(3, labeled=0), device).leave_one_out_accuracy())
    assert posterior.nbytes > 0


def test_unknown_items_are_refused(device: torch.device) -> None:
    case = problem(14)
    posterior = build(case, device)
    with pytest.raises(KeyError):
        posterior.withdraw(case.candidates[0])
    with pytest.raises(KeyError):
        posterior.remove_candidate(case.labeled[0])


def test_what_is_refused_changes_nothing(device: torch.device) -> None:
    case = problem(15, items=400, labeled=5)
    broken = case.candidates[320]
    good = case.gram.clone()
    case.gram[broken, broken] = -1e6
    posterior = build(case, device)
    case.gram = good
    free = [k for k in case.candidates if k != broken]
    posterior.remove_candidate(broken)
    labeled, candidate = case.labeled[0], free[0]
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (ValueError, lambda: posterior.label(labeled, 0)),
        (ValueError, lambda: posterior.label(candidate, 99)),
        (ValueError, lambda: posterior.label(400, 0)),
        (ValueError, lambda: posterior.label_many(free[:2], [0, 99])),
        (ValueError, lambda: posterior.label_many([candidate, candidate], [0, 0])),
        (ValueError, lambda: posterior.add_candidates([candidate])),
        (ValueError, lambda: posterior.add_candidates([labeled])),
        (NotPositiveDefiniteError, lambda: posterior.label(broken, 0)),
        (NotPositiveDefiniteError, lambda: posterior.label_many([*free[:300], broken], [0] * 301)),
    ]
    for error, ask in refused:
        with pytest.raises(error):
            ask()
        assert len(posterior.alpha) == len(posterior.factor) == posterior.n == 5
        assert posterior.m == len(free)
    check(posterior, case, {k: case.labels[k] for k in case.labeled})


def test_more_labels_at_once_than_one_update_takes(device: torch.device) -> None:
    case = problem(16, items=320, labeled=4)
    posterior = build(case, device)
    new = case.candidates[:290]
    posterior.label_many(new, [case.labels[k] for k in new])
    check(posterior, case, {k: case.labels[k] for k in [*case.labeled, *new]})
