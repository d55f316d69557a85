"""What strategies make of outputs: calibrated probabilities, and doubt in the label to come."""

from dataclasses import replace

import pytest
import torch

from api_schemas.strategies import checked_options
from ntk.calibration import temperature
from tests import oracles
from tests.worker.windows import Case, case, pick
from worker.strategies.window import Window

Tensor = torch.Tensor
READING = ["entropy", "least_confidence", "emoc", "eer", "bald", "egl", "badge", "dynamical"]


def left_out(own: Case, window: Window) -> Tensor:
    """Outputs (n, C) for each labeled item by a model refitted without it."""
    rows = []
    for k, item in enumerate(own.labeled):
        others = [other for other in own.labeled if other != item]
        labels = [label for j, label in enumerate(own.labels) if j != k]
        rows.append(oracles.refit(own.gram, own.outputs, window.posterior.ridge, others, labels)[item])
    return torch.stack(rows)


def test_the_temperature_is_that_of_models_that_did_not_see_the_label() -> None:
    own = case()
    window = own.window()
    expected = temperature(left_out(own, window), torch.tensor(own.labels))
    assert window.temperature("calibrated") == pytest.approx(expected, rel=1e-6)
    assert window.temperature("softmax") == window.temperature("auto") == window.temperature("simplex") == 1
    window.trained_here = True
    assert window.temperature("auto") == window.temperature("calibrated")


@pytest.mark.parametrize("strategy", READING)
def test_calibrating_is_dividing_all_outputs(strategy: str) -> None:
    own = case()
    options = checked_options(strategy, {})
    plain = pick(own.window(), strategy, options, count=5)
    calibrated = pick(own.window(), strategy, options | {"probabilities": "calibrated"}, count=5)
    trained_here = own.window()
    trained_here.trained_here = True
    assert torch.equal(pick(trained_here, strategy, options, count=5).picks.scores, calibrated.picks.scores)
    assert not torch.equal(plain.picks.scores, calibrated.picks.scores)


@pytest.mark.parametrize("strategy", ["entropy", "least_confidence"])
def test_scores_are_of_the_calibrated_softmax(strategy: str) -> None:
    own = case()
    window = own.window()
    outputs = window.posterior.candidate_outputs / window.temperature("calibrated")
    p = outputs.softmax(dim=1)
    entropies = torch.tensor([-sum(v * v.log() for v in row) for row in p])
    expected = entropies if strategy == "entropy" else 1 - p.amax(dim=1)
    found = pick(own.window(), strategy, checked_options(strategy, {"probabilities": "calibrated"}), count=28).picks
    assert torch.allclose(found.scores, expected[found.indices], rtol=1e-12)


def doubting_refit(own: Case, ridge: float, doubt: float, candidate: int, label: int) -> Tensor:
    """f of all items when the candidate's label carries more noise than the others."""
    labeled, labels = [*own.labeled, candidate], [*own.labels, label]
    noise = torch.full((len(labeled),), ridge, dtype=torch.float64)
    noise[-1] += doubt
    a = own.gram[labeled][:, labeled] + torch.diag(noise)
    y = torch.eye(own.outputs.shape[1], dtype=torch.float64)[labels]
    fitted: Tensor = own.outputs + own.gram[:, labeled] @ torch.linalg.inv(a) @ (y - own.outputs[labeled])
    return fitted


def test_doubt_is_noise_on_the_label_to_come_alone() -> None:
    own = case(labeled=6, candidates=10)
    window = own.window()
    options = checked_options("mlmoc", {"noise": 0.4, "batch": "top_k"})
    found = pick(window, "mlmoc", options, count=10).picks
    ridge, doubt = window.posterior.ridge, 0.4 * float(own.gram.diagonal().mean())
    now = oracles.refit(own.gram, own.outputs, ridge, list(own.labeled), list(own.labels))
    for index, score in zip(found.indices.tolist(), found.scores.tolist(), strict=True):
        item = own.candidates[index]
        after = doubting_refit(own, ridge, doubt, item, int(now[item].argmax()))
        change = (after - now)[list(own.candidates)].norm(dim=1).sum()
        assert score == pytest.approx(float(change), rel=1e-9)


def test_doubt_passes_over_what_resembles_nothing() -> None:
    own = case()
    lonely = own.candidates[0]
    gram = own.gram.clone()
    # Large, and almost by itself: with its label certain, what little it shares with others still counts fully.
    gram[lonely, lonely] = 1e-3 * gram.diagonal().mean()
    gram[lonely, torch.arange(len(gram)) != lonely] *= 1e-2
    gram[torch.arange(len(gram)) != lonely, lonely] *= 1e-2
    apart = replace(own, gram=gram)

    def rank(noise: float) -> int:
        options = checked_options("mlmoc", {"noise": noise, "batch": "top_k"})
        order = pick(apart.window(), "mlmoc", options, count=28).picks.indices.tolist()
        return order.index(0)

    assert rank(1.0) > rank(0.0)
