"""dynamicAL and its diagnostics against gradients written out, one backward pass each, and plain sums."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ntk import diagnostics
from ntk.acquisition.dynamics import Dynamics, dynamical, loss_weights
from ntk.errors import NonFiniteError
from ntk.factor import Factor
from ntk.gradients import Gradients
from tests import factories
from tests.ntk.test_diversity import free, normal, seeded

Tensor = torch.Tensor


@pytest.mark.parametrize("classes", [2, 5])
def test_loss_weights_are_the_derivative_of_cross_entropy(classes: int, device: torch.device) -> None:
    outputs = (4 * normal(4, 9, classes)).to(device).requires_grad_(True)
    labels = torch.randint(classes, (9,), generator=seeded(5)).to(device)
    loss = nn.functional.cross_entropy(outputs, labels, reduction="sum")
    (expected,) = torch.autograd.grad(loss, outputs)
    assert torch.allclose(loss_weights(outputs.detach(), labels), expected, rtol=1e-10, atol=1e-14)


def growth(chosen: list[Tensor]) -> float:
    """G(S) = ‖Σ_S g‖², from scratch."""
    return float(sum(chosen, torch.zeros(1, dtype=torch.float64)).square().sum())


class Setting:
    """Candidates and labeled items of a small network, and the gradients of all, written out."""

    def __init__(self, seed: int, m: int, n: int, device: torch.device) -> None:
        self.module = factories.mlp(4, [7], 3, seed)
        self.x = normal(seed, m + n, 4)
        outputs = self.module(self.x).detach()
        labels = torch.cat([outputs[:m].argmax(dim=1), torch.randint(3, (n,), generator=seeded(seed + 1))])
        self.weights = loss_weights(outputs, labels)
        g = []
        for k in range(m + n):
            loss = nn.functional.cross_entropy(self.module(self.x[k : k + 1]), labels[k : k + 1])
            g.append(torch.cat([p.flatten() for p in torch.autograd.grad(loss, list(self.module.parameters()))]))
        self.own, self.labeled = g[:m], g[m:]
        self.m, self.device = m, device

    def run(self, count: int, keys: list[int] | None = None, **options: Any) -> Dynamics:
        at = slice(0, self.m)
        rules = {name: options.pop(name) for name in ("classes", "quota") if name in options}
        return dynamical(
            Gradients(self.module, dtype=torch.float64, device=self.device),
            self.x[at],
            self.weights[at].to(self.device),
            self.x[self.m :],
            self.weights[self.m :].to(self.device),
            allowed=free(self.m, self.device, keys, **rules),
            count=count,
            **options,
        )


@pytest.mark.parametrize("n", [0, 1, 8])
@pytest.mark.parametrize("seed", range(2))
def test_greedy_equals_recomputed_dynamics(seed: int, n: int, device: torch.device) -> None:
    """Each pick is the one with which G(S ∪ Q ∪ x) is largest, and its score what it adds."""
    setting = Setting(seed, 15, n, device)
    found = setting.run(5)
    held, chosen = list(setting.labeled), []
    for pick, score in zip(found.indices.tolist(), found.scores.tolist(), strict=True):
        gains = [growth([*held, g]) - growth(held) if k not in chosen else -math.inf for k, g in enumerate(setting.own)]
        assert pick == gains.index(max(gains))
        assert score == pytest.approx(gains[pick], rel=1e-9)
        held.append(setting.own[pick])
        chosen.append(pick)
    before, after = growth(setting.labeled), growth(held)
    alone = sum(growth([*setting.labeled, setting.own[k]]) - before for k in chosen)
    assert len(set(chosen)) == 5
    assert found.before == pytest.approx(before, rel=1e-9)
    assert found.after == pytest.approx(after, rel=1e-9)
    assert found.approximation_ratio == pytest.approx(alone / (after - before), rel=1e-9)


def test_scores_of_one_pass_are_those_of_each_alone(device: torch.device) -> None:
    setting = Setting(3, 15, 6, device)
    found = setting.run(15, greedy=False)
    before = growth(setting.labeled)
    gains = [growth([*setting.labeled, g]) - before for g in setting.own]
    assert found.indices.tolist() == sorted(range(15), key=lambda k: -gains[k])
    assert found.scores.tolist() == pytest.approx(sorted(gains, reverse=True), rel=1e-9, abs=1e-12)
    assert found.after == pytest.approx(growth([*setting.labeled, *setting.own]), rel=1e-9)
    assert found.approximation_ratio == pytest.approx(sum(gains) / (found.after - before), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 7.0])
@pytest.mark.parametrize("greedy", [True, False])
def test_gamma_weighs_what_is_shared(gamma: float, greedy: bool, device: torch.device) -> None:
    """In the scores: G and the ratio stay those of the dynamics."""
    setting = Setting(4, 12, 5, device)
    found = setting.run(4, gamma=gamma, greedy=greedy)
    held = list(setting.labeled)
    chosen: list[int] = []
    for pick, score in zip(found.indices.tolist(), found.scores.tolist(), strict=True):
        values = [float(g @ g) + 2 * gamma * sum(float(g @ other) for other in held) for g in setting.own]
        assert pick == max((k for k in range(12) if k not in chosen), key=lambda k: values[k])
        assert score == pytest.approx(values[pick], rel=1e-9)
        chosen.append(pick)
        if greedy:
            held.append(setting.own[pick])
    everything = [*setting.labeled, *(setting.own[k] for k in chosen)]
    before, after = growth(setting.labeled), growth(everything)
    alone = sum(growth([*setting.labeled, setting.own[k]]) - before for k in chosen)
    assert found.before == pytest.approx(before, rel=1e-9)
    assert found.after == pytest.approx(after, rel=1e-9)
    assert found.approximation_ratio == pytest.approx(alone / (after - before), rel=1e-9)


def test_nothing_picked_changes_nothing(device: torch.device) -> None:
    setting = Setting(5, 6, 4, device)
    for greedy in (True, False):
        found = setting.run(0, greedy=greedy)
        assert found.indices.shape == found.scores.shape == (0,)
        assert found.before == found.after == pytest.approx(growth(setting.labeled), rel=1e-9)
        assert found.approximation_ratio is None
    setting.weights[2] = torch.nan
    with pytest.raises(NonFiniteError):
        setting.run(2)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), m=st.integers(1, 9), count=st.integers(0, 10), greedy=st.booleans())
def test_picks_follow_items_not_their_order(seed: int, m: int, count: int, greedy: bool) -> None:
    """Also where half the items are copies of the others, and within quotas."""
    setting = Setting(seed, m, 2, torch.device("cpu"))
    half = m // 2
    setting.x[:half], setting.weights[:half] = setting.x[half : 2 * half], setting.weights[half : 2 * half]
    keys = torch.randperm(m, generator=seeded(seed))
    classes, quota = torch.randint(2, (m,), generator=seeded(seed + 1)), torch.tensor([2, 3])
    classes[:half] = classes[half : 2 * half]
    one = setting.run(count, keys.tolist(), classes=classes, quota=quota, greedy=greedy).indices
    order = torch.randperm(m, generator=seeded(seed + 2))
    whole_order = torch.cat([order, torch.tensor([m, m + 1])])
    setting.x, setting.weights = setting.x[whole_order], setting.weights[whole_order]
    other = setting.run(count, keys[order].tolist(), classes=classes[order], quota=quota, greedy=greedy).indices
    # Scores of copies agree but for their last digits: compare what was picked up to copies.
    likeness = torch.arange(m)
    likeness[:half] += half
    assert likeness[one].tolist() == likeness[order[other]].tolist()
    assert len(set(one.tolist())) == len(one) == min(count, sum(min(int((classes == c).sum()), 2 + c) for c in (0, 1)))


# Diagnostics


def kernel(seed: int, size: int, features: int = 30) -> Tensor:
    phi = normal(seed, size, features) + 0.3
    return phi @ phi.mT


@pytest.mark.parametrize("classes", [2, 4])
def test_alignment_equals_sums(classes: int, device: torch.device) -> None:
    """⟨K, YYᵀ⟩ / (‖K‖ ‖YYᵀ‖), entry by entry: YYᵀ is 1 for pairs of one class and 0 for the others."""
    gram, labels = kernel(6, 9), torch.randint(classes, (9,), generator=seeded(7))
    inner = own = ideal = 0.0
    for i in range(9):
        for j in range(9):
            same = float(labels[i] == labels[j])
            inner += float(gram[i, j]) * same
            own += float(gram[i, j]) ** 2
            ideal += same
    expected = inner / math.sqrt(own * ideal)
    assert diagnostics.alignment(gram.to(device), labels.to(device), classes) == pytest.approx(expected, rel=1e-10)
    perfect = (labels[:, None] == labels).double()
    assert diagnostics.alignment(3 * perfect.to(device), labels.to(device), classes) == pytest.approx(1, rel=1e-10)
    assert math.isnan(diagnostics.alignment(gram[:0, :0].to(device), labels[:0].to(device), classes))


@pytest.mark.parametrize("n", [1, 7])
def test_bound_term_equals_a_dense_inverse(n: int, device: torch.device) -> None:
    system = kernel(8, n) + 0.1 * torch.eye(n, dtype=torch.float64)
    labels = torch.randint(3, (n,), generator=seeded(9))
    inverse = torch.linalg.inv(system)
    trace = sum(float(inverse[i, j]) for i in range(n) for j in range(n) if labels[i] == labels[j])
    found = diagnostics.bound_term(Factor.from_gram(system.to(device)), labels.to(device), 3)
    assert found == pytest.approx(math.sqrt(2 * trace / n), rel=1e-9)
    assert math.isnan(diagnostics.bound_term(Factor(device), labels[:0].to(device), 3))


def discrepancy(gram: Tensor, labeled: list[int]) -> float:
    """Means over pairs of two different items: within the labeled, within the window, and across."""

    def mean(one: list[int], other: list[int]) -> float:
        pairs = [float(gram[i, j]) for i in one for j in other if i != j]
        return sum(pairs) / len(pairs)

    everyone = list(range(len(gram)))
    return mean(labeled, labeled) + mean(everyone, everyone) - 2 * mean(labeled, everyone)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_discrepancy_equals_sums_over_pairs(dtype: torch.dtype, device: torch.device) -> None:
    gram, labeled = kernel(10, 14).to(dtype), [3, 11, 0, 6]
    at = torch.tensor(labeled, device=device)
    assert diagnostics.squared_discrepancy(gram.to(device), at) == pytest.approx(discrepancy(gram, labeled), rel=1e-9)
    everyone = torch.arange(14, device=device)
    assert diagnostics.squared_discrepancy(gram.to(device), everyone) == pytest.approx(0, abs=1e-9)
    assert math.isnan(diagnostics.squared_discrepancy(gram.to(device), at[:1]))
    far = kernel(11, 14)
    far[:4, :4] += 50  # labeled items that are alike, and unlike the rest
    assert diagnostics.squared_discrepancy(far.to(device), torch.arange(4, device=device)) > 20


def test_discrepancy_is_unbiased(device: torch.device) -> None:
    """Its mean over all labeled sets of a size is nought: a labeled set is a sample of the window."""
    gram = kernel(12, 7)
    sets = torch.combinations(torch.arange(7), 3).to(device)
    found = [diagnostics.squared_discrepancy(gram.to(device), chosen) for chosen in sets]
    assert sum(found) / len(found) == pytest.approx(0, abs=1e-9)
    assert min(found) < 0 < max(found)
