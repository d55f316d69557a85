"""The tangent kernel against per-example autograd, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ntk.errors import UnsupportedLayerError
from ntk.kernels import KernelEngine, tile_plan
from tests import factories, oracles

Tensor = torch.Tensor

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: factories.mlp(6, [16, 8], 3), (6,)),
    "deep mlp": (lambda: factories.mlp(12, [20, 20, 20, 10], 10), (3, 4)),
    "linear": (lambda: factories.mlp(5, [], 2), (5,)),
    "cnn": (lambda: factories.cnn(2, 4), (2, 11, 9)),
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


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "LayerNorm"),
        (Twice(), "more than once"),
        (Unused(), "takes no part"),
        (tied(), "share a parameter"),
        (nn.Flatten(), "no parameters"),
    ],
    ids=["no rule", "used twice", "unused", "tied", "no parameters"],
)
def test_what_is_not_exact_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=words):
        KernelEngine(module).gram(torch.randn(3, 4))


def test_tile_plan_covers_everything_once() -> None:
    assert tile_plan(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert tile_plan(0, 4) == []
