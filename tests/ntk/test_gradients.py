"""Contracted gradients, and kernel entries with weights item by item, against one backward pass per item."""

from typing import Any

import pytest
import torch
from torch import nn

from ntk.gradients import Gradients
from ntk.linearize import Linearization
from ntk.products import Products, whole
from tests.ntk.modules import BY_RULE, Build, Lambda
from tests.ntk.test_diversity import normal, seeded
from tests.ntk.unruly import PER_EXAMPLE, TOKENS

Tensor = torch.Tensor
ITEMS = 6


def stopped() -> nn.Module:
    """A gate that follows the first layer, and through which nothing is learned."""

    def forward(self: Any, x: Tensor) -> Tensor:
        h = self.first(x)
        with torch.no_grad():
            gate = h.sigmoid()
        scores: Tensor = self.head(h * gate)
        return scores

    return Lambda(forward, first=nn.Linear(4, 4), head=nn.Linear(4, 3))


# Autograd itself scales one of its parameters by what else is in the batch: there is no gradient of one item.
MIXING = "items innermost, and a wrong rule"
# Convolutions of more kinds, and deeper ones, are the kernel's tests' and take long.
LEFT_OUT = ["deep mlp", "few positions", "shifted", "three dimensions", "shared convolution"]
NETWORKS: dict[str, tuple[Build, tuple[int, ...] | None]] = {
    **{name: made for name, made in BY_RULE.items() if name not in LEFT_OUT},
    **PER_EXAMPLE,
    **{name: (build, None) for name, build in TOKENS.items()},
    "stopped gradient": (stopped, (4,)),
}
# Forward mode cannot differentiate these, or differentiates what gradients do not.
FALLBACK = ["derived weight", "own function", "self-attention", "vision transformer", "stopped gradient"]


def scores_of(answer: Any) -> Tensor:
    scores: Tensor = (
        answer["logits"] if isinstance(answer, dict) else answer[0] if isinstance(answer, tuple) else answer
    )
    return scores


def case(name: str, items: int = ITEMS) -> tuple[nn.Module, Tensor, Tensor]:
    """A float64 network, items and a weight vector for each."""
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    with torch.no_grad():
        module = build().double()
    x = torch.randint(7, (items, 5), generator=seeded(1)) if shape is None else normal(1, items, *shape)
    classes = scores_of(module.eval()(x)).shape[1]
    return module, x, normal(2, items, classes)


def rows(module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
    """J(x)ᵀw, (N, P), one backward pass each."""
    module = module.eval().requires_grad_(True)
    found = []
    for item, own in zip(x, weights, strict=True):
        scalar = (scores_of(module(item[None]))[0] * own).sum()
        parts = torch.autograd.grad(scalar, list(module.parameters()), allow_unused=True, materialize_grads=True)
        found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found).detach()


def split(vector: Tensor, module: nn.Module) -> dict[str, Tensor]:
    """A vector (P,) by parameter."""
    named = dict(module.named_parameters())
    parts = vector.split([parameter.numel() for parameter in named.values()])
    return {name: part.view_as(named[name]) for name, part in zip(named, parts, strict=True)}


def joined(direction: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in direction.values()]).cpu()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_equal_one_backward_pass_per_item(name: str, device: torch.device) -> None:
    module, x, weights = case(name)
    expected = rows(module, x, weights)
    gradients = Gradients(module, dtype=torch.float64, device=device)
    found = gradients.squared_norms(x, weights)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected.square().sum(dim=1).tolist(), rel=1e-9, abs=1e-12)
    if name == MIXING:
        return
    total = gradients.total(x, weights)
    assert list(total) == [name for name, _ in module.named_parameters()]
    largest = float(expected.sum(dim=0).abs().max())
    assert torch.allclose(joined(total), expected.sum(dim=0), rtol=1e-9, atol=1e-10 * largest)
    scale = float(expected.norm(dim=1).max() * joined(total).norm())
    products = gradients.along(x, weights, total)
    assert products.dtype == torch.float64
    assert torch.allclose(products.cpu(), expected @ expected.sum(dim=0), rtol=1e-9, atol=1e-10 * scale)


@pytest.mark.parametrize("name", ["mlp", "cnn", *FALLBACK])
def test_derivatives_along_any_direction_in_any_batches(
    name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also along what no labeled item's gradient has; by forward mode for plain networks, else by the fallback."""
    module, x, weights = case(name)
    expected = rows(module, x, weights)
    vector = expected.mT @ normal(3, ITEMS)  # in the span of gradients: an idle parameter's entries mean nothing
    gradients = Gradients(module, dtype=torch.float64, device=device)
    ways = {"_forward_mode": 0, "_double_backward": 0}
    for way in ways:
        original = getattr(gradients, way)

        def counted(*arguments: Any, way: str = way, original: Any = original) -> Any:
            ways[way] += 1
            return original(*arguments)

        monkeypatch.setattr(gradients, way, counted)
    direction = {k: part.to(device) for k, part in split(vector, module).items()}
    ticks: list[int] = []
    monkeypatch.setattr("ntk.gradients._BATCH", 4)
    products = gradients.along(x, weights, direction, lambda: ticks.append(1))
    scale = float(expected.norm(dim=1).max() * vector.norm())
    assert torch.allclose(products.cpu(), expected @ vector, rtol=1e-9, atol=1e-10 * scale)
    # A few items tell which way it is; then two batches go that way.
    expected_ways = (1, 2) if name in FALLBACK else (3, 0)
    assert (ways["_forward_mode"], ways["_double_backward"]) == expected_ways
    assert len(ticks) == 2
    squares = gradients.squared_norms(x, weights, lambda: ticks.append(1))
    assert squares.tolist() == pytest.approx(expected.square().sum(dim=1).tolist(), rel=1e-9)
    total = joined(gradients.total(x, weights, lambda: ticks.append(1)))
    assert torch.allclose(total, expected.sum(dim=0), rtol=1e-9, atol=1e-10 * float(total.abs().max()))
    assert len(ticks) == 6


def test_no_items_have_no_gradient(device: torch.device) -> None:
    module, x, weights = case("mlp")
    gradients = Gradients(module, dtype=torch.float64, device=device)
    total = gradients.total(x[:0], weights[:0])
    assert not joined(total).any()
    assert gradients.along(x, weights, total).tolist() == [0.0] * ITEMS
    assert gradients.squared_norms(x[:0], weights[:0]).shape == gradients.along(x[:0], weights[:0], total).shape == (0,)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("name", ["mlp", "cnn", "batch norm", "self-attention", "lstm", "tied", "bilinear"])
def test_kernel_entries_of_weights_item_by_item(
    name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """g_x·g_z, each with weights of its own, in forward passes of a few items."""
    module, x, weights = case(name)
    expected = rows(module, x, weights)
    linearization = Linearization(module, device, torch.float64)
    monkeypatch.setattr(linearization, "batch_size", lambda plan: 4)
    x, weights = x.to(device), weights.to(device)
    left, right = linearization.features(x, weights), linearization.features(x[:3], weights[:3])
    total = torch.zeros((ITEMS, 3), dtype=torch.float64, device=device)
    left.add(total, right, whole(ITEMS, 3), Products("float64", device))
    scale = float(expected.square().sum(dim=1).max())
    assert torch.allclose(total.cpu(), expected @ expected[:3].mT, rtol=1e-9, atol=1e-10 * scale)
    assert torch.allclose(left.diagonal().cpu(), expected.square().sum(dim=1), rtol=1e-9)
