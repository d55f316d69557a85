"""The temperature of outputs against a search over a grid."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk.calibration import COLDEST, HOTTEST, temperature

Tensor = torch.Tensor


def cross_entropy(outputs: Tensor, labels: Tensor, t: float) -> float:
    """Mean over the labels, and one more label that is each class equally."""
    n, classes = outputs.shape
    total = 0.0
    for row, label in zip((outputs / t).tolist(), labels.tolist(), strict=True):
        partition = math.log(sum(math.exp(z - max(row)) for z in row)) + max(row)
        total += n * (partition - row[label]) + sum(partition - z for z in row) / classes
    return total / n / (n + 1)


def noisy(seed: int, n: int, classes: int, noise: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    outputs = torch.nn.functional.one_hot(labels, classes).double()
    return outputs + noise * torch.randn((n, classes), generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("noise", [0.1, 0.4, 1.0, 3.0])
@pytest.mark.parametrize(("n", "classes"), [(1, 3), (20, 10), (60, 2)])
def test_no_other_temperature_fits_better(n: int, classes: int, noise: float) -> None:
    outputs, labels = noisy(n, n, classes, noise)
    found = temperature(outputs, labels)
    best = cross_entropy(outputs, labels, found)
    for step in range(200):
        other = math.exp(math.log(COLDEST) + step / 199 * math.log(HOTTEST / COLDEST))
        assert best <= cross_entropy(outputs, labels, other) + 1e-9


def test_sharper_where_outputs_are_right() -> None:
    found = [temperature(*noisy(0, 100, 5, noise)) for noise in (0.2, 0.5, 1.0)]
    assert found == sorted(found)
    assert found[0] < 0.5


def test_a_few_right_answers_are_no_certainty() -> None:
    outputs = torch.eye(4, dtype=torch.float64)
    few = temperature(outputs, torch.arange(4))
    many = temperature(outputs.repeat(50, 1), torch.arange(4).repeat(50))
    assert few > many > COLDEST
    # Sure of what it is right about, to about one part in n + 1 by the rule of succession.
    assert float((outputs[0] / few).softmax(dim=0)[0]) == pytest.approx(1 - 1 / 5 * 3 / 4, abs=1e-6)


def test_outputs_that_mislead_are_flattened_and_bounds_hold() -> None:
    outputs = torch.eye(3, dtype=torch.float64)
    assert temperature(outputs, torch.tensor([1, 2, 0])) == pytest.approx(HOTTEST)
    assert temperature(1e-6 * outputs, torch.arange(3)) == pytest.approx(COLDEST)
    assert temperature(outputs[:0], torch.arange(0)) == 1.0


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-100, 100))
def test_units_and_shifts_of_outputs_do_not_matter(seed: int, scale: float, shift: float) -> None:
    outputs, labels = noisy(seed, 12, 4, 0.8)
    found = temperature(outputs, labels)
    again = temperature(scale * outputs + shift, labels)
    # At the bounds there is no telling.
    if min(found, found * scale) > COLDEST and max(found, found * scale) < HOTTEST:
        assert again == pytest.approx(scale * found, rel=1e-5)
