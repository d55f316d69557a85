"""FixMatch and the training objective, item by item in float64 from their formulas."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from worker.training import fixmatch
from worker.training.fit import fit
from worker.training.fixmatch import FixMatch, Realignment, consistency_loss, pseudo_labels
from worker.training.options import LOSSES, Loss, TrainOptions

Tensor = torch.Tensor
DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(each - max(row)) for each in row]
    return [each / sum(powers) for each in powers]


def realigned(batches: list[list[list[float]]], target: list[float]) -> list[list[float]]:
    """The last batch of probabilities after those before it: p_c target_c / mean_c, brought back to sum one.

    The mean is over batches, weighed by 0.95 to the power of their age.
    """
    classes = range(len(target))
    ages = [0.95 ** (len(batches) - 1 - k) for k in range(len(batches))]
    shares = [[sum(row[c] for row in batch) / len(batch) for c in classes] for batch in batches]
    mean = [sum(age * share[c] for age, share in zip(ages, shares, strict=True)) / sum(ages) for c in classes]
    moved = [[row[c] * target[c] / mean[c] for c in classes] for row in batches[-1]]
    return [[each / sum(row) for each in row] for row in moved]


def consistency(on_weak: list[list[float]], on_strong: list[list[float]], confidence: float) -> float:
    """(1/U) Σ over items whose largest probability is at least the confidence of −log of its class on the strong
    view; `on_weak` are probabilities, `on_strong` outputs."""
    total = 0.0
    for p, outputs in zip(on_weak, on_strong, strict=True):
        if max(p) >= confidence:
            total -= math.log(softmax(outputs)[p.index(max(p))])
    return total / len(on_weak)


def test_realigned_probabilities_follow_the_formula_over_many_batches() -> None:
    target = [0.6, 0.3, 0.1]
    realignment = Realignment(torch.tensor(target, dtype=DOUBLE))
    seen: list[list[list[float]]] = []
    for size in (4, 1, 7, 4, 2):
        p = (2 * torch.randn((size, 3), generator=generator(size), dtype=DOUBLE)).softmax(dim=1)
        seen.append(p.tolist())
        before = p.clone()
        found = realignment(p)
        assert torch.allclose(found, torch.tensor(realigned(seen, target), dtype=DOUBLE), rtol=1e-12)
        assert torch.equal(p, before)


def test_realignment_gives_the_labels_their_shares() -> None:
    # A single batch of equal items: the realigned probabilities are the target itself.
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=DOUBLE).expand(5, 3)
    target = torch.tensor([0.2, 0.2, 0.6], dtype=DOUBLE)
    assert torch.allclose(Realignment(target)(p), target.expand(5, 3))
    # And nothing moves where predictions have the labels' shares already.
    even = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=DOUBLE)
    assert torch.allclose(Realignment(torch.full((2,), 0.5, dtype=DOUBLE))(even), even)


def test_realignment_survives_classes_nobody_has() -> None:
    never_predicted = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert Realignment(torch.tensor([0.5, 0.5]))(never_predicted).tolist() == [[1, 0], [1, 0]]
    never_labeled = Realignment(torch.tensor([1.0, 0.0]))(torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
    assert never_labeled.tolist() == [[0, 0], [1, 0]]


def test_what_is_sure_is_at_or_above_the_confidence() -> None:
    p = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.4, 0.3, 0.3], [0.1, 0.8, 0.1]], dtype=DOUBLE)
    outputs = p.log().requires_grad_()
    largest = float(outputs.detach().softmax(dim=1)[0, 0])
    labels, sure = pseudo_labels(outputs, largest, None)
    assert labels.tolist() == [0, 2, 0, 1]
    assert sure.tolist() == [True, True, False, True]
    assert not labels.requires_grad
    assert not sure.requires_grad
    assert pseudo_labels(outputs, math.nextafter(largest, 1), None)[1].tolist() == [False, False, False, True]
    # Realigned probabilities decide both the class and whether it counts.
    target = [0.1, 0.1, 0.8]
    expected = realigned([p.tolist()], target)
    labels, sure = pseudo_labels(outputs, 0.7, Realignment(torch.tensor(target, dtype=DOUBLE)))
    assert labels.tolist() == [row.index(max(row)) for row in expected]
    assert sure.tolist() == [max(row) >= 0.7 for row in expected]
    assert 0 < sum(sure.tolist()) < 4


def test_only_sure_items_have_a_loss_and_all_of_them_count() -> None:
    outputs = torch.randn((6, 4), generator=generator(), dtype=DOUBLE).requires_grad_()
    labels = torch.tensor([0, 3, 1, 1, 2, 0])
    sure = torch.tensor([True, False, True, False, False, True])
    loss = consistency_loss(outputs, labels, sure)
    terms = [-math.log(softmax(outputs[k].tolist())[labels[k]]) for k in range(6) if sure[k]]
    assert float(loss.detach()) == pytest.approx(sum(terms) / 6, rel=1e-12)
    loss.backward()
    assert outputs.grad is not None
    assert outputs.grad.abs().sum(dim=1).gt(0).tolist() == sure.tolist()
    nobody = consistency_loss(outputs, labels, torch.zeros(6, dtype=torch.bool))
    assert float(nobody.detach()) == 0


def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weak views are items plus 100, strong views items times −1."""
    monkeypatch.setattr(fixmatch, "weak", lambda x, _: x + 100)
    monkeypatch.setattr(fixmatch, "strong", lambda x, _: -x)


def test_a_step_sees_weak_labeled_items_then_both_views_of_the_same_unlabeled_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marked(monkeypatch)
    unlabeled = torch.arange(1.0, 15.0)[:, None]
    options = TrainOptions(loss="fixmatch", batch_size=2, unlabeled_ratio=3)
    made = FixMatch(unlabeled, options, torch.tensor([0.5, 0.5]), generator())
    assert not made.is_idle
    labeled = torch.tensor([[-7.0], [-8.0]])
    passes = []
    for size in (6, 6, 2):
        views = made.views(labeled)
        assert len(views) == 2 + 2 * size
        assert views[:2, 0].tolist() == [93, 92]
        on_weak, on_strong = views[2 : 2 + size, 0], views[2 + size :, 0]
        assert torch.equal(on_weak - 100, -on_strong)
        passes += (-on_strong).tolist()
    assert sorted(passes) == unlabeled[:, 0].tolist()


def test_without_unlabeled_items_there_is_no_unlabeled_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    marked(monkeypatch)
    made = FixMatch(torch.zeros(0, 1), TrainOptions(loss="fixmatch"), torch.tensor([0.5, 0.5]), generator())
    assert made.is_idle
    assert made.views(torch.zeros(3, 1)).tolist() == [[100.0]] * 3
    assert float(made.loss(torch.zeros(0, 2))) == 0


@pytest.mark.parametrize("realign", [True, False])
def test_the_loss_of_a_run_follows_the_formula_step_by_step(realign: bool) -> None:
    options = TrainOptions(loss="fixmatch", confidence=0.6, unlabeled_weight=2.5, realign=realign)
    target = [0.5, 0.3, 0.2]
    made = FixMatch(torch.zeros(9, 1), options, torch.tensor(target, dtype=DOUBLE), generator())
    seen: list[list[list[float]]] = []
    for step in range(5):
        outputs = 2 * torch.randn((8, 3), generator=generator(step), dtype=DOUBLE)
        outputs.requires_grad_()
        loss = made.loss(outputs)
        on_weak, on_strong = outputs[:4].tolist(), outputs[4:].tolist()
        seen.append([softmax(row) for row in on_weak])
        p = realigned(seen, target) if realign else seen[-1]
        assert float(loss.detach()) == pytest.approx(2.5 * consistency(p, on_strong, 0.6), rel=1e-9)
        loss.backward()
        assert outputs.grad is not None
        # The weak view is a target: nothing is learned through it.
        assert float(outputs.grad[:4].abs().sum()) == 0
        assert outputs.grad[4:].abs().sum(dim=1).gt(0).tolist() == [max(row) >= 0.6 for row in p]
        # The running mean would otherwise keep every step's graph alive.
        assert made._realignment is None or not made._realignment._sum.requires_grad


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_training_goes_down_the_whole_objective(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients against differences of the objective, written out item by item.

    Two labeled items make one pair, whichever comes first; so small a learning rate leaves the weights as they are.
    Of two steps the first is within the part in which predicted losses shape the network, and the second is not.
    """
    monkeypatch.setattr(fixmatch, "weak", lambda x, _: x + 0.1)
    monkeypatch.setattr(fixmatch, "strong", lambda x, _: -0.5 * x)
    x, unlabeled = (torch.randn((size, 3), generator=generator(size), dtype=DOUBLE) for size in (2, 7))
    y = [2, 0]
    options = TrainOptions(loss=loss, steps=2, learning_rate=1e-30, weight_decay=0, loss_prediction=True)
    options = replace(options, loss_prediction_weight=0.7, confidence=0.4, unlabeled_weight=1.5)
    module = network()
    gradients: dict[str, list[Tensor]] = {name: [] for name, _ in module.named_parameters()}
    for name, parameter in module.named_parameters():
        parameter.register_hook(lambda grad, name=name: gradients[name].append(grad.clone()))
    predictor = fit(module, x, torch.tensor(y), options, classes=3, unlabeled=unlabeled).loss_predictor
    assert predictor is not None

    # What the steps treat as fixed: pseudo-labels, and which of the two losses is the larger.
    fixed = network()
    with torch.no_grad():
        pseudo = realigned([[softmax(row) for row in fixed(unlabeled + 0.1).tolist()]], [0.5, 0, 0.5])

    def objective(joint: bool) -> float:
        seen = x + 0.1 if loss == "fixmatch" else x
        own = []
        for outputs, label in zip(fixed(seen).tolist(), y, strict=True):
            squares = sum((output - (c == label)) ** 2 for c, output in enumerate(outputs))
            own.append(squares if loss == "squared" else -math.log(softmax(outputs)[label]))
        total = sum(own) / 2
        if loss == "fixmatch":
            total += 1.5 * consistency(pseudo, fixed(-0.5 * unlabeled).tolist(), 0.4)
        if joint:
            hidden = fixed[0](seen)
            scores = predictor([hidden, hidden.tanh()]).tolist()
            total += 0.7 * max(0.0, 1 - (1 if own[0] > own[1] else -1) * (scores[0] - scores[1]))
        return total

    step = 1e-6
    with torch.no_grad():
        for name, parameter in fixed.named_parameters():
            assert len(gradients[name]) == 2
            for gradient, joint in zip(gradients[name], (True, False), strict=True):
                for k, slope in enumerate(gradient.flatten().tolist()):
                    flat = parameter.view(-1)
                    flat[k] += step
                    above = objective(joint)
                    flat[k] -= 2 * step
                    assert (above - objective(joint)) / (2 * step) == pytest.approx(slope, rel=1e-5, abs=1e-7), name
                    flat[k] += step
    first, second = gradients["0.weight"]
    assert not torch.allclose(first, second, rtol=0.01)
