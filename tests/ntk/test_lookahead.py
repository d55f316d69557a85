"""Look-ahead scores against refitting for every candidate and label."""

import pytest
import torch

from ntk.acquisition.lookahead.change import Change, emoc, mlmoc
from ntk.acquisition.lookahead.error import eer
from ntk.acquisition.lookahead.greedy import Score, greedy
from ntk.acquisition.lookahead.influence import influence
from ntk.acquisition.lookahead.model import LookAhead
from ntk.acquisition.lookahead.one_step import one_step
from ntk.acquisition.uncertainty import probabilities
from ntk.errors import NonFiniteError
from ntk.posterior import Posterior
from ntk.selection import Allowed
from tests import oracles, strategy_oracles
from tests.factories import Problem, problem
from tests.ntk.test_posterior import BOUNDS, CASES, build

Tensor = torch.Tensor
SMALL: list[dict[str, int]] = [
    {"seed": 1, "items": 26, "labeled": 7},
    {"seed": 2, "items": 22, "labeled": 0, "classes": 4},
    {"seed": 3, "items": 24, "labeled": 5, "classes": 2, "duplicates": 8},
]


def look(case: Problem, posterior: Posterior, network: bool) -> LookAhead:
    reference = case.outputs.to(posterior.candidates.device)[posterior.candidates] if network else None
    return LookAhead.of(
        posterior.covariance, posterior.variance, posterior.candidate_outputs, reference, posterior.column_l1
    )


def everything(posterior: Posterior) -> Allowed:
    return Allowed(torch.ones(posterior.m, dtype=torch.bool, device=posterior.candidates.device), posterior.candidates)


def expected_of(model: LookAhead) -> Tensor:
    return eer(model, probabilities(model.base))


@pytest.mark.parametrize("network", [False, True], ids=["linearized", "network"])
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("arguments", CASES, ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items()))
def test_mlmoc_equals_refitting(
    arguments: dict[str, int], dtype: torch.dtype, network: bool, device: torch.device
) -> None:
    case = problem(**arguments)  # type: ignore[arg-type]
    posterior = build(case, device, dtype)
    found = mlmoc(look(case, posterior, network))
    at = posterior.candidates.tolist()
    ys = [case.labels[k] for k in case.labeled]
    expected = oracles.mlmoc(case.gram, case.outputs, case.ridge, case.labeled, ys, at, network=network)
    assert found.shape == (len(at),)
    assert torch.allclose(found.cpu(), expected, rtol=BOUNDS[dtype], atol=0)


@pytest.mark.parametrize("arguments", SMALL, ids=str)
@pytest.mark.parametrize("network", [False, True], ids=["linearized", "network"])
@pytest.mark.parametrize("kind", ["norm", "flips"])
@pytest.mark.parametrize("most_likely", [True, False], ids=["mlmoc", "emoc"])
def test_changes_equal_refitting(
    arguments: dict[str, int], network: bool, kind: Change, most_likely: bool, device: torch.device
) -> None:
    case = problem(**arguments)  # type: ignore[arg-type]
    model = look(case, build(case, device), network)
    found = mlmoc(model, kind) if most_likely else emoc(model, probabilities(model.base), kind)
    expected = strategy_oracles.expected_change(case, kind, network=network, most_likely=most_likely)
    assert found.tolist() == pytest.approx(expected, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("arguments", SMALL, ids=str)
@pytest.mark.parametrize("network", [False, True], ids=["linearized", "network"])
def test_expected_error_reduction_equals_refitting(
    arguments: dict[str, int], network: bool, device: torch.device
) -> None:
    case = problem(**arguments)  # type: ignore[arg-type]
    found = expected_of(look(case, build(case, device), network))
    assert found.tolist() == pytest.approx(strategy_oracles.expected_error_reduction(case, network=network), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_expected_error_reduction_at_a_temperature(temperature: float, device: torch.device) -> None:
    case = problem(7, items=20, labeled=5)
    model = look(case, build(case, device), False)
    found = eer(model, probabilities(model.base / temperature), temperature)
    expected = strategy_oracles.expected_error_reduction(case, temperature=temperature)
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_expected_error_reduction_survives_large_outputs(device: torch.device) -> None:
    case = problem(4, items=18, labeled=3)
    case.outputs = 300 * case.outputs
    found = expected_of(look(case, build(case, device), False))
    assert found.tolist() == pytest.approx(strategy_oracles.expected_error_reduction(case), rel=1e-6, abs=1e-6)


def test_tiles_do_not_change_scores(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem(5)
    model = look(case, build(case, device), True)

    def scores() -> list[Tensor]:
        p = probabilities(model.base)
        return [mlmoc(model), mlmoc(model, "flips"), emoc(model, p), emoc(model, p, "flips"), eer(model, p)]

    whole = scores()
    monkeypatch.setattr("ntk.acquisition.lookahead.model.TILE_ENTRIES", 7)
    for one, other in zip(whole, scores(), strict=True):
        assert torch.allclose(one, other, rtol=1e-12)


def test_one_step_equals_a_gradient_step(device: torch.device) -> None:
    """One step on half the squared loss at the candidate, its change by first-order expansion: K times residual."""
    case = problem(6, items=20, labeled=5)
    at = torch.tensor(case.candidates, device=device)
    f = strategy_oracles.now(case)[case.candidates]
    found = one_step(case.gram.to(device), at, f.to(device))
    expected = []
    for k, candidate in enumerate(case.candidates):
        residual = -f[k]
        residual[int(f[k].argmax())] += 1
        moved = [float((case.gram[item, candidate] * residual).norm()) for item in case.candidates]
        expected.append(sum(moved))
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("network", [False, True], ids=["linearized", "network"])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_equals_refitting_after_each_pick(seed: int, network: bool, device: torch.device) -> None:
    case = problem(seed, items=30, labeled=8)
    posterior = build(case, device)
    before = posterior.covariance.clone()
    picks, values = greedy(look(case, posterior, network), mlmoc, everything(posterior), 6)
    ys = [case.labels[k] for k in case.labeled]
    expected, expected_values = oracles.greedy_mlmoc(
        case.gram, case.outputs, case.ridge, case.labeled, ys, case.candidates, 6, network=network
    )
    assert posterior.candidates[picks].tolist() == expected
    assert torch.allclose(values.cpu(), torch.tensor(expected_values, dtype=torch.float64), rtol=1e-6)
    assert torch.equal(posterior.covariance, before)


@pytest.mark.parametrize("kind", ["emoc", "eer", "flips"])
def test_greedy_conditions_every_score(kind: str, device: torch.device) -> None:
    """The scores of the second pick equal those of a model that was given the first pick's pseudo-label."""
    case = problem(7, items=24, labeled=6)
    posterior = build(case, device)
    score: Score = {
        "emoc": lambda model: emoc(model, probabilities(model.base)),
        "eer": expected_of,
        "flips": lambda model: mlmoc(model, "flips"),
    }[kind]
    first, second = greedy(look(case, posterior, False), score, everything(posterior), 2)[0].tolist()
    item = int(posterior.candidates[first])
    posterior.label(item, int(posterior.candidate_outputs[first].argmax()))
    again = score(look(case, posterior, False))
    rest = posterior.candidates.tolist()
    best = float(again.max())
    chosen = rest.index(case.candidates[second])
    assert float(again[chosen]) == pytest.approx(best, rel=1e-9)


def test_greedy_starts_with_the_best_never_repeats_and_keeps_to_the_allowed(device: torch.device) -> None:
    case = problem(5, items=30, labeled=6, duplicates=12)
    posterior = build(case, device)
    eligible = torch.ones(posterior.m, dtype=torch.bool, device=device)
    eligible[::3] = False
    count = int(eligible.sum())
    picks, _ = greedy(look(case, posterior, False), mlmoc, Allowed(eligible, posterior.candidates), count + 3)
    assert len(set(picks.tolist())) == len(picks) == count
    assert bool(eligible[picks].all())
    single = mlmoc(look(case, posterior, False))
    single[~eligible] = -torch.inf
    assert int(picks[0]) in (single >= single.max() * (1 - 1e-12)).nonzero()[:, 0].tolist()


def test_scores_follow_items_not_their_order(device: torch.device) -> None:
    case, shuffled = problem(6), problem(6)
    shuffled.candidates = case.candidates[::-1]
    shuffled.labeled = case.labeled[::-1]
    for network in (False, True):
        one, other = (
            dict(zip(c.candidates, mlmoc(look(c, build(c, device), network)).tolist(), strict=True))
            for c in (case, shuffled)
        )
        assert {k: pytest.approx(v, rel=1e-9) for k, v in one.items()} == other


def test_greedy_refuses_nan(device: torch.device) -> None:
    posterior = build(problem(8), device)
    with pytest.raises(NonFiniteError):
        greedy(look(problem(8), posterior, False), lambda m: m.variance * torch.nan, everything(posterior), 2)


def test_influence_names_what_would_change(device: torch.device) -> None:
    case = problem(7)
    posterior = build(case, device)
    ys = [case.labels[k] for k in case.labeled]
    f = strategy_oracles.now(case)
    at = posterior.candidates.tolist()
    residual = posterior.candidate_outputs.clone()
    residual[torch.arange(posterior.m), residual.argmax(dim=1)] -= 1
    picks = torch.tensor([3, 0, 11], device=device)
    items, changes = influence(posterior.covariance, posterior.variance, residual.norm(dim=1), picks, 4)
    for pick, found, sizes in zip(picks.tolist(), items.tolist(), changes.tolist(), strict=True):
        item = at[pick]
        then = oracles.refit(case.gram, case.outputs, case.ridge, [*case.labeled, item], [*ys, int(f[item].argmax())])
        moved = (then - f).norm(dim=1)
        moved[item] = -1
        expected = sorted(((float(moved[k]), k) for k in at), reverse=True)[:4]
        assert sizes == pytest.approx([size for size, _ in expected])
        assert [at[k] for k in found] == [k for _, k in expected]


def test_influence_has_at_most_the_others(device: torch.device) -> None:
    posterior = build(problem(9), device)
    norms, picks = torch.ones(posterior.m, device=device), torch.tensor([4], device=device)
    items, changes = influence(posterior.covariance, posterior.variance, norms, picks, posterior.m + 3)
    assert items.shape == changes.shape == (1, posterior.m - 1)
    assert 4 not in items[0].tolist()
