"""The tangent kernel against per-example autograd, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ntk.errors import NonFiniteError, UnsupportedLayerError
from ntk.kernels import KernelEngine, tile_plan
from ntk.layers import Materialised, OuterProduct, Positions
from ntk.linearize import Linearization
from tests import factories, oracles

Tensor = torch.Tensor

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: factories.mlp(6, [16, 8], 3), (6,)),
    "deep mlp": (lambda: factories.mlp(12, [20, 20, 20, 10], 10), (3, 4)),
    "linear": (lambda: factories.mlp(5, [], 2), (5,)),
    "cnn": (lambda: factories.cnn(2, 4), (2, 11, 9)),
    # Wide and over few positions: here the sum over position pairs is the cheaper form.
    "deep cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 24, 3, padding=1, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(24, 30, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(30, 16, 2, bias=False),
            nn.Flatten(),
            nn.Linear(16, 3),
        ).double(),
        (4, 4, 4),
    ),
    "linear over positions": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(15, 3, bias=False)).double(),
        (3, 4),
    ),
    "strided windows": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, (2, 3), stride=(1, 2), padding=(1, 0)), nn.Flatten()).double(),
        (1, 5, 7),
    ),
}


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest error relative to √(K_ii K_jj)."""
    scale = expected.diagonal().sqrt()
    return float(((found.cpu() - expected).abs() / torch.outer(scale, scale)).max())


@pytest.fixture(params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    build, shape = NETWORKS[request.param]
    module = build()
    x = torch.randn((23, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    module(x)
    return module, x


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_gram_equals_autograd(
    case: tuple[nn.Module, Tensor], dtype: torch.dtype, bound: float, device: torch.device
) -> None:
    module, x = case
    expected = oracles.gram(module, x)
    found = KernelEngine(module, dtype=dtype, device=device).gram(x)
    assert found.shape == (23, 23)
    assert torch.equal(found, found.mT)
    assert relative_error(found, expected) < bound


def test_blocks_agree_whatever_the_tiles(case: tuple[nn.Module, Tensor], device: torch.device) -> None:
    module, x = case
    whole = KernelEngine(module, dtype=torch.float64, device=device)
    tiled = KernelEngine(module, dtype=torch.float64, device=device, memory_bytes=1)
    expected = whole.gram(x).cpu()
    assert relative_error(tiled.gram(x), expected) < 1e-12
    assert relative_error(torch.diag(tiled.diagonal(x)), torch.diag(expected.diagonal())) < 1e-12
    cross = tiled.cross(x[:7], x[5:]).cpu()
    assert torch.allclose(cross, expected[:7, 5:], rtol=1e-10, atol=1e-10 * float(expected.diagonal().max()))


def test_panels_make_the_lower_triangle(device: torch.device) -> None:
    module, x = factories.mlp(6, [16], 3), torch.randn(23, 6, dtype=torch.float64)
    engine = KernelEngine(module, dtype=torch.float64, device=device)
    expected = engine.gram(x)
    ticks: list[int] = []
    for start, stop in tile_plan(23, 8):
        panel = engine.panel(x, start, stop, on_tile=lambda: ticks.append(1))
        assert panel.shape == (stop - start, stop)
        assert torch.allclose(panel, expected[start:stop, :stop], rtol=1e-12)
    assert len(ticks) >= 5


def test_outputs_are_the_networks(case: tuple[nn.Module, Tensor], device: torch.device) -> None:
    module, x = case
    expected = module.cpu()(x)
    assert torch.allclose(KernelEngine(module, dtype=torch.float64, device=device).outputs(x).cpu(), expected)


def test_calling_changes_nothing_in_the_network() -> None:
    module = factories.mlp(6, [16], 3)
    before = [parameter.clone() for parameter in module.parameters()]
    engine = KernelEngine(module, dtype=torch.float64)
    x = torch.randn(5, 6, dtype=torch.float64)
    engine.gram(x)
    assert not x.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


class Twice(nn.Module):
    """Uses one layer two times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        once: Tensor = self.layer(x)
        again: Tensor = self.layer(once)
        return again


class Unused(nn.Module):
    """Has a layer that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.idle = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, second)


class PastItsLayer(nn.Module):
    """Uses a weight outside the layer that owns it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(nn.functional.linear(self.layer(x), self.layer.weight))
        return out


class Random(nn.Module):
    """Drops units in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 64)
        self.last = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(nn.functional.dropout(self.layer(x)))
        return out


class Mixing(nn.Module):
    """Scales every item by the mean of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x).square()
        return out * out.mean(dim=0)


def test_every_form_is_exercised() -> None:
    build, shape = NETWORKS["deep cnn"]
    blocks = Linearization(build(), torch.device("cpu"), torch.float64).features(
        torch.zeros((2, *shape), dtype=torch.float64)
    )
    assert {type(block) for block in blocks.blocks} == {Materialised, Positions, OuterProduct}


def test_memory_bounds_a_tile_by_what_capturing_it_takes() -> None:
    x = torch.randn(4, 3, 48, 48)
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    engine = KernelEngine(module, memory_bytes=1 << 25)
    activations = 4 * 16 * (46 * 46 + 44 * 44)
    engine.gram(x)
    assert engine._rows_per_tile is not None
    assert 1 <= engine._rows_per_tile * activations < 1 << 25


def test_the_callers_network_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(4, 3)).double().train()
    KernelEngine(module, dtype=torch.float32).gram(torch.randn(3, 4))
    weight = next(module.parameters())
    assert (weight.dtype, weight.requires_grad, module.training) == (torch.float64, True, True)


def test_no_items_and_numbers_that_are_none() -> None:
    engine = KernelEngine(nn.Linear(4, 3))
    assert engine.gram(torch.empty(0, 4)).shape == (0, 0)
    assert engine.diagonal(torch.empty(0, 4)).shape == (0,)
    assert engine.cross(torch.empty(0, 4), torch.randn(3, 4)).shape == (0, 3)
    x = torch.randn(5, 4)
    x[3] = torch.nan
    with pytest.raises(NonFiniteError):
        engine.gram(x)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "LayerNorm"),
        (Twice(), "more than once"),
        (Unused(), "takes no part"),
        (tied(), "share a parameter"),
        (nn.Flatten(), "no parameters"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False, track_running_stats=False)), "batch"),
        (PastItsLayer(), "autograd"),
        (Random(), "autograd"),
        (Mixing(), "autograd"),
    ],
    ids=[
        "no rule",
        "used twice",
        "unused",
        "tied",
        "no parameters",
        "batch statistics",
        "past its layer",
        "random",
        "mixing",
    ],
)
def test_what_is_not_exact_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=words):
        KernelEngine(module).gram(torch.randn(3, 4))


def test_tile_plan_covers_everything_once() -> None:
    assert tile_plan(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert tile_plan(0, 4) == []
