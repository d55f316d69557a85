"""Training on few labels: what is learned, what repeats, what is refused. The losses are read slowly elsewhere."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from worker.training.batches import batch_ranges, shuffled_items, shuffled_rows
from worker.training.fit import STEPS_MIN, fit, item_losses
from worker.training.options import LOSSES, Loss, TrainOptions

Tensor = torch.Tensor
FEW = TrainOptions(steps=12, batch_size=8, learning_rate=0.01)


class Sliced:
    """Items that are no tensor: read by the slice."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice, /) -> Tensor:
        return self.x[rows]


def blobs(count: int, seed: int = 0, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Well separated clusters in five dimensions, one a class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (count,), generator=generator)
    y[:classes] = torch.arange(classes)[:count]
    return 4 * torch.eye(classes, 5)[y] + 0.5 * torch.randn((count, 5), generator=generator), y


def perceptron(classes: int = 3, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, classes))


def normalised() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Linear(16, 3))


def images(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Bars: standing (class 0) or lying (class 1), on a noisy ground."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (count,), generator=generator)
    y[:2] = torch.arange(2)[:count]
    bar = torch.zeros(8, 8)
    bar[:, 3:5] = 1
    shown = torch.stack([bar, bar.T])[y][:, None]
    return shown + 0.05 * torch.rand(shown.shape, generator=generator), y


def convolutional() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveMaxPool2d(4), nn.Flatten(),
        nn.Linear(128, 2),
    )  # fmt: skip


def accuracy(module: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((module(x).argmax(dim=1) == y).double().mean())


def weights(module: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in module.state_dict().values()])


@pytest.mark.parametrize("loss_prediction", [False, True], ids=["plain", "with predicted losses"])
@pytest.mark.parametrize("loss", LOSSES)
def test_clusters_are_learned_from_few_labels(loss: Loss, loss_prediction: bool) -> None:
    x, y = blobs(9)
    others, truth = blobs(200, seed=1)
    options = TrainOptions(loss=loss, loss_prediction=loss_prediction, unlabeled_ratio=1)
    untrained = perceptron()
    assert accuracy(untrained, others, truth) < 0.8
    result = fit(perceptron(), x, y, options, classes=3, unlabeled=others)
    assert accuracy(result.module, others, truth) > 0.97
    assert result.steps == STEPS_MIN
    assert not result.module.training
    with torch.no_grad():
        before, after = (
            float(item_losses(each(x), y, squared=loss == "squared").mean()) for each in (untrained, result.module)
        )
    assert result.loss == pytest.approx(after, rel=1e-4, abs=1e-7)
    assert result.loss < before / 5
    assert (result.loss_predictor is not None) == loss_prediction


@pytest.mark.parametrize("loss", ["squared", "fixmatch"])
def test_images_are_learned_by_a_network_with_batch_norm(loss: Loss) -> None:
    x, y = images(8)
    others, truth = images(100, seed=1)
    options = TrainOptions(loss=loss, steps=60, batch_size=16, learning_rate=0.01, unlabeled_ratio=2)
    result = fit(convolutional(), x, y, options, classes=2, unlabeled=others)
    assert accuracy(result.module, others, truth) > 0.95


def test_unlabeled_items_place_the_boundary_that_two_labels_misplace() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(400) % 2
    x = torch.randn((400, 2), generator=generator) * torch.tensor([0.25, 0.5])
    x[:, 0] += 2 * truth - 1
    # Midway between the labels lies inside the left cluster; the gap between the clusters is around zero.
    labeled = torch.tensor([[-2.0, 0.0], [0.15, 0.0]])
    found = {}
    for loss in ("cross_entropy", "fixmatch"):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
        options = TrainOptions(loss=loss, steps=100, confidence=0.8, learning_rate=0.01)
        fit(module, labeled, torch.tensor([0, 1]), options, classes=2, unlabeled=x)
        found[loss] = accuracy(module, x, truth)
    assert found["cross_entropy"] < 0.98
    assert found["fixmatch"] > 0.99


@pytest.mark.parametrize("loss", LOSSES)
def test_same_seed_same_weights_whatever_was_drawn_before(loss: Loss) -> None:
    x, y = blobs(20)
    others, _ = blobs(40, seed=1)
    options = replace(FEW, loss=loss, loss_prediction=True, unlabeled_ratio=2)
    found = []
    for seed, drawn in ((0, 0), (0, 5), (1, 0)):
        module = perceptron(dropout=0.5)
        torch.manual_seed(drawn)
        state = torch.get_rng_state()
        result = fit(module, x, y, replace(options, seed=seed), classes=3, unlabeled=others)
        assert torch.equal(torch.get_rng_state(), state)
        assert result.loss_predictor is not None
        found.append(torch.cat([weights(result.module), weights(result.loss_predictor)]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_items_read_by_the_slice_give_the_same_network() -> None:
    x, y = blobs(20)
    of_tensor, of_slices = (fit(perceptron(), each, y, FEW, classes=3).module for each in (x, Sliced(x)))
    assert torch.equal(weights(of_tensor), weights(of_slices))


def test_progress_counts_every_step() -> None:
    x, y = blobs(20)
    seen: list[tuple[int, int]] = []
    options = TrainOptions(epochs=90, batch_size=8)
    result = fit(perceptron(), x, y, options, classes=3, on_step=lambda *now: seen.append(now))
    assert seen == [(k, 270) for k in range(1, 271)]  # three batches a pass
    assert result.steps == 270


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_number_of_steps_may_be_given(steps: int) -> None:
    x, y = blobs(5)
    module = perceptron()
    before = weights(module)
    assert fit(module, x, y, TrainOptions(steps=steps), classes=3).steps == steps
    assert not torch.equal(weights(module), before)


@pytest.mark.parametrize("loss_prediction", [False, True])
def test_raising_between_steps_cancels(loss_prediction: bool) -> None:
    class StopError(Exception):
        pass

    seen: list[int] = []

    def on_step(done: int, total: int) -> None:
        seen.append(done)
        if done == 4:
            raise StopError

    x, y = blobs(20)
    module = perceptron()
    with pytest.raises(StopError):
        fit(module, x, y, replace(FEW, loss_prediction=loss_prediction), classes=3, on_step=on_step)
    assert seen == [1, 2, 3, 4]
    assert not any(layer._forward_hooks for layer in module.modules())
    assert not module.training


def test_without_labels_the_network_stays_as_it_is() -> None:
    module = perceptron()
    before = weights(module)
    result = fit(module, torch.zeros(0, 5), torch.zeros(0), TrainOptions(loss_prediction=True), classes=3)
    assert result.module is module
    assert (result.loss, result.steps, result.loss_predictor) == (0.0, 0, None)
    assert torch.equal(weights(module), before)
    assert not module.training


@pytest.mark.parametrize("unlabeled", [0, 1, 9])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("make", [perceptron, normalised])
def test_one_label_is_enough(make: Callable[[], nn.Sequential], loss: Loss, unlabeled: int) -> None:
    x, y = torch.full((1, 5), 2.0), torch.tensor([2])
    options = replace(FEW, loss=loss, steps=60, loss_prediction=True)
    others, _ = blobs(9, seed=1)
    result = fit(make(), x, y, options, classes=3, unlabeled=others[:unlabeled])
    assert accuracy(result.module, x, y) == 1
    # A variance of zero would be divided by.
    assert float(result.module(others).detach().abs().max()) < 100


@pytest.mark.parametrize("loss", LOSSES)
def test_one_class_only_is_learned(loss: Loss) -> None:
    x, _ = blobs(10)
    y = torch.ones(10, dtype=torch.long)
    result = fit(perceptron(), x, y, replace(FEW, loss=loss, steps=60), classes=3, unlabeled=blobs(30, seed=1)[0])
    assert accuracy(result.module, x, y) == 1


@pytest.mark.parametrize(("count", "batch_size"), [(9, 8), (17, 8), (3, 1), (2, 1)])
def test_batch_norm_never_sees_a_single_item(count: int, batch_size: int) -> None:
    module = normalised()
    sizes: list[int] = []
    module[1].register_forward_pre_hook(lambda layer, inputs: sizes.append(len(inputs[0])) if layer.training else None)
    x, y = blobs(count)
    fit(module, x, y, replace(FEW, batch_size=batch_size), classes=3)
    assert len(sizes) == 12
    assert min(sizes) >= 2


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 17])
def test_batches_of_a_pass_cover_every_item_once(count: int, batch_size: int, least: int) -> None:
    ranges = batch_ranges(count, batch_size, least)
    rows = shuffled_rows(ranges, torch.Generator().manual_seed(0))
    for _ in range(2):
        drawn = [next(rows) for _ in ranges]
        assert sorted(torch.cat(drawn).tolist()) == list(range(count))
        assert all(len(each) >= min(least, count) for each in drawn)


@pytest.mark.parametrize("whole", [True, False], ids=["tensor", "slices"])
def test_unlabeled_batches_cover_every_item_in_each_pass(whole: bool) -> None:
    x = torch.arange(10.0)[:, None]
    batches = shuffled_items(x if whole else Sliced(x), 4, torch.Generator().manual_seed(1))
    passes = [torch.cat([next(batches) for _ in range(3)])[:, 0].tolist() for _ in range(3)]
    assert all(sorted(each) == list(range(10)) for each in passes)
    assert len({tuple(each) for each in passes}) > 1


def test_numbers_that_explode_are_told() -> None:
    x, y = blobs(9)
    with pytest.raises(FloatingPointError, match="learning rate below 1e\\+20"):
        fit(perceptron(), x, y, TrainOptions(learning_rate=1e20), classes=3)
    with pytest.raises(FloatingPointError, match="at step 1 of"):
        fit(perceptron(), x.fill_(math.nan), y, TrainOptions(), classes=3)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("at least one label", {"options": TrainOptions(loss="fixmatch"), "x": torch.zeros(0, 5), "y": torch.zeros(0)}),
        ("needs the unlabeled items", {"options": TrainOptions(loss="fixmatch")}),
        ("0 to 2", {"y": torch.tensor([0, 1, 3])}),
        ("0 to 2", {"y": torch.tensor([0, -1, 2])}),
        ("one for each of 3", {"y": torch.tensor([0, 1])}),
        ("integers", {"y": torch.tensor([0.0, 1.0, 2.0])}),
        ("must return \\(3, 4\\)", {"classes": 4}),
        ("nothing can be trained", {"module": perceptron().requires_grad_(False)}),
        (
            "cannot be augmented",
            {"options": TrainOptions(loss="fixmatch"), "x": torch.zeros(3, 2, 5), "unlabeled": torch.zeros(3, 2, 5)},
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(message: str, arguments: dict[str, object]) -> None:
    x, y = blobs(3)
    given: dict[str, object] = {"module": perceptron(), "x": x, "y": y, "options": TrainOptions(), "classes": 3}
    with pytest.raises(ValueError, match=message):
        fit(**(given | arguments))  # type: ignore[arg-type]


BAD_OPTIONS: dict[str, list[object]] = {
    "loss": ["hinge"],
    "steps": [0],
    "epochs": [0],
    "batch_size": [0],
    "unlabeled_ratio": [0],
    "learning_rate": [0.0, math.inf],
    "weight_decay": [-1.0],
    "unlabeled_weight": [math.nan],
    "confidence": [0.0, 1.5],
}


@pytest.mark.parametrize(("name", "number"), [(name, each) for name, bad in BAD_OPTIONS.items() for each in bad])
def test_options_that_make_no_sense_are_refused(name: str, number: object) -> None:
    with pytest.raises(ValueError, match=f"{name} is {number!r}"):
        TrainOptions(**{name: number})  # type: ignore[arg-type]
