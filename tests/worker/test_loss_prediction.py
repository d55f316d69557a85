"""Predicted losses: the ranking loss pair by pair, what is tapped of which network, and that predictions mean it."""

from typing import Any

import pytest
import torch
from torch import nn

from worker.networks import build
from worker.training.fit import fit, item_losses
from worker.training.loss_prediction import (
    LossPredictor,
    Taps,
    loss_predictor,
    pooled,
    predicted_losses,
    ranking_loss,
)
from worker.training.options import TrainOptions
from worker.training.standardise import standardised

Tensor = torch.Tensor
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


@pytest.mark.parametrize("margin", [1.0, 0.3])
@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_the_ranking_loss_is_the_mean_over_pairs(count: int, margin: float) -> None:
    scores, losses = randn(count, seed=1).double(), randn(count, seed=2).double().abs()
    losses[-1] = losses[0]
    total = 0.0
    for first in range(count // 2):
        second = first + count // 2
        sign = 1 if losses[first] > losses[second] else -1
        total += max(0.0, margin - sign * (float(scores[first]) - float(scores[second])))
    assert float(ranking_loss(scores, losses, margin)) == pytest.approx(total / (count // 2), rel=1e-12)


def test_the_ranking_loss_teaches_the_scores_only() -> None:
    scores, losses = torch.tensor([0.0, 0.0]).requires_grad_(), torch.tensor([2.0, 1.0]).requires_grad_()
    ranking_loss(scores, losses).backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [-1, 1]  # going down raises the score of the larger loss
    assert losses.grad is None
    assert float(ranking_loss(torch.tensor([9.0, 1.0]), torch.tensor([2.0, 1.0]))) == 0
    one = torch.tensor([3.0]).requires_grad_()
    ranking_loss(one, torch.tensor([1.0])).backward()
    assert one.grad is not None
    assert one.grad.tolist() == [0]


def tapped(module: nn.Module, x: Tensor) -> list[Tensor]:
    with Taps(module) as found, torch.no_grad():
        module(x)
        return list(found)


def outputs_by_layer(module: nn.Sequential, x: Tensor) -> list[Tensor]:
    """What each layer gives, one after another."""
    found = []
    with torch.no_grad():
        for layer in module:
            x = layer(x)
            found.append(x)
    return found


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (5, [1, 2, 3, 4]), (8, [1, 3, 5, 7]), (9, [2, 4, 6, 8])],
)
def test_up_to_four_layers_evenly_spaced_always_with_the_last_but_one(hidden: int, expected: list[int]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(hidden + 1)))
    x = randn(3, 4)
    every = outputs_by_layer(module, x)
    found = tapped(module, x)
    assert len(found) == len(expected)
    assert all(torch.equal(one, every[k]) for one, k in zip(found, expected, strict=True))


class Nested(nn.Module):
    """One child that holds everything."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x)
        return found


class Listed(nn.Module):
    """Layers in a list, which is never called itself, and a layer that gives no tensor of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, width) for width in (4, 4))
        self.named = nn.ModuleDict({"more": nn.Linear(4, 6), "never_called": nn.Linear(4, 9)})
        self.odd = Odd()
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x).tanh()
        x = self.named["more"](x)
        self.odd(x)
        found: Tensor = self.last(x)
        return found


class Odd(nn.Module):
    """Gives a tuple."""

    def forward(self, x: Tensor) -> Any:
        return x, x


class Own(nn.Module):
    """No layers at all."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(randn(12, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


def test_what_is_tapped_of_networks_of_many_makes() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))
    x = randn(3, 4)
    expected = outputs_by_layer(plain, x)[:-1]
    wrappers = [plain, Nested(plain), Nested(Nested(plain)), nn.Sequential(plain)]
    for module in wrappers:
        found = tapped(module, x)
        assert [tuple(each.shape) for each in found] == [(3, 5), (3, 5), (3, 3), (3, 3)]
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    behind = tapped(standardised(plain, torch.ones(4), torch.full((4,), 2.0)), 2 * x + 1)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(behind, expected, strict=True))
    assert [tuple(each.shape) for each in tapped(Listed(), x)] == [(3, 4), (3, 4), (3, 6)]
    images = randn(3, 1, 3, 4)
    assert torch.equal(tapped(Own(), images)[0], images.flatten(1))
    assert torch.equal(tapped(nn.Linear(4, 2), x)[0], x)


def test_what_is_tapped_of_the_tutorial_network() -> None:
    module = build("cnn", {"input_shape": [1, 20, 24], "classes": 4})
    shapes = [tuple(each.shape) for each in tapped(module, randn(2, 1, 20, 24))]
    assert 1 < len(shapes) <= 4
    assert shapes[-1] == (2, 84)
    assert all(shape[0] == 2 for shape in shapes)
    assert any(len(shape) == 4 for shape in shapes)


def test_every_pass_fills_the_list_anew_and_leaving_removes_the_hooks() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with Taps(module) as found:
        assert found == []
        for size in (3, 1, 7):
            module(randn(size, 4))
            assert [len(each) for each in found] == [size, size]
    assert found == []
    assert not any(layer._forward_hooks for layer in module.modules())
    with pytest.raises(RuntimeError), Taps(module):
        module(randn(3, 99))
    assert not any(layer._forward_hooks for layer in module.modules())


def test_images_and_tokens_are_averaged() -> None:
    images, tokens, rows = randn(2, 3, 4, 5), randn(2, 7, 6), randn(2, 8)
    for n in range(2):
        for channel in range(3):
            mean = sum(float(v) for v in images[n, channel].flatten()) / 20
            assert float(pooled(images)[n, channel]) == pytest.approx(mean, abs=1e-6)
        for feature in range(6):
            mean = sum(float(v) for v in tokens[n, :, feature]) / 7
            assert float(pooled(tokens)[n, feature]) == pytest.approx(mean, abs=1e-6)
    assert torch.equal(pooled(rows), rows)
    assert pooled(images).shape == (2, 3)
    assert pooled(tokens).shape == (2, 6)


def test_scores_are_linear_relu_side_by_side_linear() -> None:
    predictor = LossPredictor([5, 3], generator()).double()
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator(parameter.numel())))
    parts = [randn(4, 5, 2, 2).double(), randn(4, 3).double()]
    state = {key: tensor.numpy() for key, tensor in predictor.state_dict().items()}
    for n, score in enumerate(predictor(parts).tolist()):
        hidden: list[float] = []
        for k, part in enumerate((parts[0].mean(dim=(2, 3)), parts[1])):
            row = part[n].numpy()
            weight, bias = state[f"branches.{k}.weight"], state[f"branches.{k}.bias"]
            hidden += [max(0.0, float(weight[unit] @ row + bias[unit])) for unit in range(128)]
        expected = sum(float(w) * h for w, h in zip(state["score.weight"][0], hidden, strict=True))
        assert score == pytest.approx(expected + float(state["score.bias"][0]), rel=1e-9)


def test_initial_weights_follow_the_generator_and_shapes_the_network() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)).double().train()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    one, same, other = (loss_predictor(module, randn(1, 4), generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
    other.load_state_dict(one.state_dict())
    assert {parameter.dtype for parameter in one.parameters()} == {torch.float64}
    # Looking on changes nothing: neither the mode nor the running statistics.
    assert module.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())


def test_predicted_losses_are_read_batch_by_batch_in_eval_mode() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(5, 2)).train()
    predictor = loss_predictor(module, randn(1, 4), generator())
    x = randn(600, 4)
    before = x.clone()
    scores = predicted_losses(module, predictor, x, CPU)
    assert scores.shape == (600,)
    assert scores.dtype == torch.float64
    assert torch.equal(x, before)
    with torch.no_grad():
        for k in (0, 255, 256, 599):
            own = predictor(tapped(module, x[k : k + 1]))
            assert float(own) == pytest.approx(float(scores[k]), rel=1e-4, abs=1e-5)


def test_larger_losses_are_predicted_for_items_that_are_hard() -> None:
    """Labels are noise on one side of the plane and clear on the other: only there can losses be small."""
    x = randn(300, 2, seed=1)
    truth = (x[:, 1] > 0).long()
    noise = torch.rand(300, generator=generator(2)) < 0.5
    hard = x[:, 0] > 0
    y = torch.where(hard & noise, 1 - truth, truth)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    options = TrainOptions(steps=150, learning_rate=0.01, loss_prediction=True, batch_size=100)
    result = fit(module, x, y, options, classes=2)
    assert result.loss_predictor is not None
    others = randn(300, 2, seed=3)
    scores = predicted_losses(module, result.loss_predictor, others, CPU)
    apart = scores[others[:, 0] > 0.3].mean() - scores[others[:, 0] < -0.3].mean()
    assert float(apart) > float(scores.std())
    losses = item_losses(module(x), y, squared=True).detach().double()
    ranks = [
        each.argsort().argsort().double() for each in (losses, predicted_losses(module, result.loss_predictor, x, CPU))
    ]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.3
