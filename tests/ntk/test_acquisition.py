"""Uncertainty scores against plain Python."""

import pytest
import torch

from ntk.acquisition import uncertainty
from tests import oracles


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
