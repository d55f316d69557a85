"""Scores from the network itself, and networks sampled by dropout, against autograd and masks written out."""

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ntk.acquisition.learned import bald, expected_length, last_layer_gradient_lengths
from ntk.dropout import DropoutSamples, has_dropout
from ntk.errors import UnsupportedNetworkError
from tests import factories, strategy_oracles
from tests.ntk.modules import Lambda
from tests.ntk.test_diversity import normal, seeded

Tensor = torch.Tensor


@pytest.mark.parametrize("samples", [1, 2, 12])
@pytest.mark.parametrize("classes", [2, 7])
def test_mutual_information_equals_plain_sums(samples: int, classes: int, device: torch.device) -> None:
    outputs = [3 * normal(k, 9, classes) for k in range(samples)]
    found = bald(sample.to(device) for sample in outputs)
    assert found.tolist() == pytest.approx(strategy_oracles.mutual_information(outputs), rel=1e-9, abs=1e-12)


def test_mutual_information_of_certain_networks() -> None:
    """Those that agree tell nothing; those that contradict each other a whole label."""
    sure = torch.tensor([[1e4, 0.0, 0.0]], dtype=torch.float64)
    other = sure.flip(1)
    assert bald([sure, sure]).tolist() == [0.0]
    assert bald([sure, other]).tolist() == pytest.approx([math.log(2)], rel=1e-12)
    with pytest.raises(ValueError, match="at least one sample"):
        bald([])


@pytest.mark.parametrize("samples", [2, 3, 12])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_rounding_is_no_information(samples: int, classes: int) -> None:
    """Else it, and so the machine, would choose among items that a network without dropout says nothing of."""
    outputs = 3 * normal(0, 500, classes)
    assert bald([outputs] * samples).max() == 0
    apart = outputs + 0.01 * normal(1, 500, classes)
    assert (bald([outputs, apart]) > 0).double().mean() > 0.99


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), samples=st.integers(1, 6), scale=st.floats(0, 100))
def test_mutual_information_has_bounds_and_no_order(seed: int, samples: int, scale: float) -> None:
    outputs = [scale * normal(seed + k, 5, 4) for k in range(samples)]
    found = bald(outputs)
    assert bool(((found >= 0) & (found <= min(math.log(4), math.log(samples)) + 1e-9)).all())
    assert torch.allclose(bald(outputs[::-1]), found, rtol=1e-9, atol=1e-12)
    order = torch.randperm(5, generator=seeded(seed))
    assert torch.allclose(bald([sample[order] for sample in outputs]), found[order], rtol=1e-9, atol=1e-12)
    shifted = [sample + normal(seed + 50 + k, 5, 1) for k, sample in enumerate(outputs)]
    assert torch.allclose(bald(shifted), found, rtol=1e-9, atol=1e-9)


def gradient_lengths(layer: nn.Linear, h: Tensor) -> list[list[float]]:
    """Norm of the cross-entropy's gradient in the layer's parameters, one backward pass per item and class."""
    found = []
    for item in h:
        row = []
        for y in range(layer.out_features):
            loss = nn.functional.cross_entropy(layer(item[None]), torch.tensor([y]))
            parts = torch.autograd.grad(loss, list(layer.parameters()))
            row.append(math.sqrt(sum(float(part.square().sum()) for part in parts)))
        found.append(row)
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("classes", [2, 5])
def test_gradient_lengths_equal_autograd(bias: bool, classes: int, device: torch.device) -> None:
    torch.manual_seed(classes)
    layer, h = nn.Linear(6, classes, bias=bias).double(), 2 * normal(13, 8, 6)
    outputs = layer(h).detach()
    expected = gradient_lengths(layer, h)
    lengths = last_layer_gradient_lengths(outputs.to(device), h.to(device), bias=bias)
    for found, row in zip(lengths.tolist(), expected, strict=True):
        assert found == pytest.approx(row, rel=1e-9)
    means = [
        sum(math.exp(o) / sum(math.exp(v) for v in row) * length for o, length in zip(row, own, strict=True))
        for row, own in zip(outputs.tolist(), expected, strict=True)
    ]
    assert expected_length(outputs.to(device), lengths).tolist() == pytest.approx(means, rel=1e-9)


@pytest.mark.parametrize("gap", [0.0, 3.0, 12.0, 25.0, 60.0, 300.0])
def test_gradient_lengths_of_certain_networks_keep_their_digits(gap: float, device: torch.device) -> None:
    """Against exact fractions: at the predicted class all but 1e-26 of the length cancels, and counts all the same."""
    outputs = torch.tensor([[gap, 0.0, -1.0], [0.5, gap, 0.0]], dtype=torch.float64)
    h = torch.zeros((2, 1), dtype=torch.float64)
    found = last_layer_gradient_lengths(outputs.to(device), h.to(device), bias=True).tolist()
    for row, values in zip(found, outputs.tolist(), strict=True):
        powers = [Fraction(math.exp(value - max(values))) for value in values]
        p = [power / sum(powers) for power in powers]
        for y, length in enumerate(row):
            squares = sum((q - (1 if k == y else 0)) ** 2 for k, q in enumerate(p))
            top = max(p[k] for k in range(3) if k != y) if values[y] == max(values) else Fraction(1)
            assert length == pytest.approx(math.sqrt(squares / top**2) * float(top), rel=1e-12)


# Dropout

WIDTH = 5


def network(*before_last: nn.Module) -> nn.Module:
    """More classes than the last layer has inputs: outputs tell what entered it."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, WIDTH), nn.Tanh(), *before_last, nn.Linear(WIDTH, 9)).double().eval()


def masks(module: Any, x: Tensor, change: Tensor) -> Tensor:
    """What each input of the last layer was multiplied by, (N, WIDTH): W (h ∘ (mask − 1)) solved for the mask."""
    h: Tensor = module[:-1](x).detach()
    moved: Tensor = torch.linalg.lstsq(module[-1].weight.detach(), change.cpu().mT).solution.mT
    return 1 + moved / h


@pytest.mark.parametrize("own", [True, False], ids=["own layer", "last layer's input"])
def test_a_sample_is_one_mask_for_all_items(own: bool, device: torch.device) -> None:
    rate = 0.25
    module, x = network(*[nn.Dropout(rate)] if own else []), normal(14, 7, 4)
    sampler = DropoutSamples(module, rate=0.9 if own else rate, dtype=torch.float64, device=device)
    assert sampler.own_layers == has_dropout(module) == own
    ticks: list[int] = []
    found = [masks(module, x, change) for change in sampler.changes(x, 300, 5, lambda: ticks.append(1))]
    assert len(found) == len(ticks) == 300
    drawn = []
    for each in found:
        mask = each[0].round(decimals=6)
        assert torch.allclose(each, mask.expand_as(each), rtol=1e-6, atol=1e-6)
        assert all(min(abs(v), abs(v - 1 / (1 - rate))) < 1e-5 for v in mask.tolist())
        drawn.append((mask > 0).tolist())
    kept = torch.tensor(drawn).double()
    # Each entry is kept on its own, three times in four: within five standard deviations.
    spread = 5 * math.sqrt(rate * (1 - rate) / 300)
    assert bool(((kept.mean(dim=0) - (1 - rate)).abs() < spread).all())
    together = (kept.mT @ kept / 300 - (1 - rate) ** 2)[~torch.eye(WIDTH, dtype=torch.bool)]
    assert bool((together.abs() < 2 * spread).all())


@pytest.mark.parametrize("own", [True, False], ids=["own layer", "last layer's input"])
def test_a_seed_gives_the_same_again_whatever_the_batch(
    own: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x = network(*[nn.Dropout(0.5)] if own else []), normal(15, 11, 4)

    def changes(items: Tensor, seed: int) -> Tensor:
        sampler = DropoutSamples(module, dtype=torch.float64, device=device)
        return torch.stack(list(sampler.changes(items, 6, seed))).cpu()

    one = changes(x, 3)
    assert one.shape == (6, 11, 9)
    assert one.dtype == torch.float64
    torch.manual_seed(99)  # the global state is nobody's business
    assert torch.equal(changes(x, 3), one)
    order = torch.randperm(11, generator=seeded(1))
    assert torch.allclose(changes(x[order], 3), one[:, order], rtol=1e-9, atol=1e-12)
    assert torch.allclose(changes(x[4:5], 3), one[:, 4:5], rtol=1e-9, atol=1e-12)
    monkeypatch.setattr("ntk.kernel._BATCH", 4)
    monkeypatch.setattr("ntk.penultimate._BATCH", 3)
    assert torch.allclose(changes(x, 3), one, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(changes(x, 4), one)
    assert not all(torch.allclose(one[0], sample) for sample in one[1:])


def test_layers_of_one_network_draw_for_themselves_and_a_layer_keeps_its_mask(device: torch.device) -> None:
    """Two layers of one shape have two masks; one that is used twice in a pass has one."""
    x = normal(16, 3, 12)
    two = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5), nn.Linear(12, 12, bias=False)).double()
    shared = Lambda(lambda self, x: self.head(self.drop(self.drop(x))), drop=nn.Dropout(0.5), head=two[2]).double()
    two[2].weight.data = torch.eye(12, dtype=torch.float64)
    seen = {}
    for name, module in (("two", two), ("shared", shared)):
        sampler = DropoutSamples(module, dtype=torch.float64, device=device)
        factors = torch.cat([(change.cpu() / x + 1).round(decimals=9)[0] for change in sampler.changes(x, 20, 0)])
        assert set(factors.tolist()) == {0.0, 4.0}
        seen[name] = float((factors > 0).double().mean())
    # A quarter of entries survives two masks, half of them one: 240 draws of each.
    assert seen["two"] == pytest.approx(0.25, abs=0.12)
    assert seen["shared"] == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("layer", [nn.Dropout2d(0.5), nn.Dropout2d(0.5, inplace=True), nn.Dropout(0.5)], ids=str)
def test_layers_for_images_drop_whole_channels(layer: nn.Module, device: torch.device) -> None:
    module = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 24, bias=False)).double()
    module[2].weight.data = torch.eye(24, dtype=torch.float64)
    x = normal(17, 3, 6, 2, 2)
    whole_channels = []
    for change in DropoutSamples(module, dtype=torch.float64, device=device).changes(x, 10, 0):
        factors = (change.cpu().view_as(x) / x + 1).round(decimals=9)
        assert set(factors.flatten().tolist()) <= {0.0, 2.0}
        assert torch.equal(factors, factors[:1].expand_as(factors))
        whole_channels.append(bool((factors == factors[:, :, :1, :1]).all()))
    assert all(whole_channels) == isinstance(layer, nn.Dropout2d)
    assert any(whole_channels) == isinstance(layer, nn.Dropout2d)


def test_dropout_inside_a_transformer_is_not_passed_by(device: torch.device) -> None:
    """Its layers have a fused pass for eval mode in which none of the layers within is called."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.4, batch_first=True)
    module = nn.Sequential(encoder, nn.Flatten(), nn.Linear(24, 3)).double()
    samples = list(DropoutSamples(module, dtype=torch.float64, device=device).changes(normal(18, 4, 3, 8), 3, 0))
    assert all(float(sample.abs().amin(dim=1).min()) > 1e-6 for sample in samples)


def test_extreme_rates(device: torch.device) -> None:
    x = normal(19, 4, 4)
    for rate, expected in ((0.0, 1.0), (1.0, 0.0)):
        module = network()
        (change,) = DropoutSamples(module, rate=rate, dtype=torch.float64, device=device).changes(x, 1, 0)
        assert torch.allclose(masks(module, x, change), torch.full((4, WIDTH), expected).double(), atol=1e-9)
    idle = network(nn.Dropout(0.0))
    assert not DropoutSamples(idle, device=device).own_layers
    all_gone = network(nn.Dropout(1.0))
    (change,) = DropoutSamples(all_gone, dtype=torch.float64, device=device).changes(x, 1, 0)
    assert torch.allclose(masks(all_gone, x, change), torch.zeros((4, WIDTH)).double(), atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_left_as_it_was(training: bool, device: torch.device) -> None:
    module, x = network(nn.Dropout(0.5)).train(training), normal(20, 5, 4)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    sampler = DropoutSamples(module, dtype=torch.float64, device=device)
    expected = [list(sampler.changes(x, 3, seed)) for seed in (0, 1)]
    # Two readers in turn, one of which stops early: neither meets the other's masks.
    one, two = sampler.changes(x, 3, 0), sampler.changes(x, 3, 1)
    for k in range(2):
        assert torch.equal(next(one), expected[0][k])
        assert torch.equal(next(two), expected[1][k])
    assert torch.equal(next(iter(sampler.changes(x, 1, 1))), expected[1][0])
    for layer in module.modules():
        assert layer.training == training
        assert not layer._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())


def test_a_network_with_neither_dropout_nor_a_last_linear_layer_is_refused(device: torch.device) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Softplus()).double()
    sampler = DropoutSamples(module, dtype=torch.float64, device=device)
    with pytest.raises(UnsupportedNetworkError, match="does not end in a linear layer"):
        next(iter(sampler.changes(normal(21, 2, 4), 1, 0)))
    assert not has_dropout(factories.cnn(1, 2))
