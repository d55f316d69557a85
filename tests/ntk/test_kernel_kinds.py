"""Kernels beside the pseudo-NTK, each against its definition."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from ntk.entk import FullKernel, mlmoc, regress
from ntk.errors import TooLargeError, UnsupportedNetworkError
from ntk.features import LastLayerKernel, ProjectedKernel
from ntk.head import HeadKernel, InfiniteHeadKernel, flattened, fresh_head
from ntk.infinite import relu_ntk
from ntk.kernel import Kernel, tile_plan
from ntk.kernels import KernelEngine
from ntk.penultimate import Penultimate
from tests import factories, oracles

Tensor = torch.Tensor


def jacobians(module: nn.Module, x: Tensor) -> Tensor:
    """∇θ f_c(x) of every item and output: (N, C, P)."""
    module = module.eval().requires_grad_(True)
    rows = []
    for item in x:
        outputs = module(item[None])[0]
        each = [torch.autograd.grad(value, list(module.parameters()), retain_graph=True) for value in outputs]
        rows.append(torch.stack([torch.cat([g.flatten() for g in gradients]) for gradients in each]))
    return torch.stack(rows).detach()


@pytest.fixture
def network() -> tuple[nn.Module, Tensor]:
    module, x = factories.cnn(2, 4), torch.randn((9, 2, 11, 9), generator=torch.Generator().manual_seed(1)).double()
    module(x)
    return module, x


KINDS = ["pntk", "single_logit", "last_layer", "projected", "head", "infinite head"]


def kernel_of(kind: str, module: nn.Module, device: torch.device) -> Kernel:
    engine = KernelEngine(module, dtype=torch.float64, device=device)
    penultimate = Penultimate(module, dtype=torch.float64, device=device)
    match kind:
        case "single_logit":
            return KernelEngine(module, kind="single_logit", dtype=torch.float64, device=device)
        case "last_layer":
            return LastLayerKernel(module, dtype=torch.float64, device=device)
        case "projected":
            return ProjectedKernel(engine, 64, seed=3)
        case "head":
            return HeadKernel(penultimate, penultimate.outputs, hidden=[8], dtype=torch.float64, device=device)
        case "infinite head":
            return InfiniteHeadKernel(penultimate, penultimate.outputs, depth=2)
        case _:
            return engine


@pytest.mark.parametrize("kind", KINDS)
def test_what_every_kernel_keeps(kind: str, network: tuple[nn.Module, Tensor], device: torch.device) -> None:
    module, x = network
    kernel = kernel_of(kind, module, device)
    gram = kernel.gram(x)
    assert torch.equal(gram, gram.mT)
    assert float(torch.linalg.eigvalsh(gram)[0]) > -1e-9 * float(gram.diagonal().max())
    scale = float(gram.diagonal().max())
    assert torch.allclose(kernel.cross(x[:4], x[2:]), gram[:4, 2:], atol=1e-9 * scale)
    assert torch.allclose(kernel_of(kind, module, device).gram(x.flip(0)), gram.flip(0, 1), atol=1e-9 * scale)
    assert torch.allclose(kernel.outputs(x).cpu(), module(x), atol=1e-10)
    out = torch.zeros_like(gram)
    assert kernel.gram(x, out) is out
    assert torch.allclose(out, gram, atol=1e-9 * scale)
    ticks: list[int] = []
    panels = list(kernel.panels(x, tile_plan(9, 4), skip={0}, on_tile=lambda: ticks.append(1)))
    assert [(start, stop) for start, stop, _ in panels] == [(4, 8), (8, 9)]
    assert ticks
    for start, stop, panel in panels:
        assert torch.allclose(panel, gram[start:stop, :stop], atol=1e-9 * scale)
    assert kernel.cross(x[:0], x[:3]).shape == (0, 3)


def test_the_last_layers_kernel_is_the_trace_of_its_block(network: tuple[nn.Module, Tensor]) -> None:
    module, x = network
    last = module[-1].weight.numel() + module[-1].bias.numel()  # type: ignore[index]
    block = jacobians(module, x)[:, :, -last:]
    expected = torch.einsum("icp,jcp->ij", block, block)
    assert torch.allclose(LastLayerKernel(module, dtype=torch.float64).gram(x), expected)
    without = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)).double()
    z = torch.randn(6, 4, dtype=torch.float64)
    h = without[1](without[0](z))
    assert torch.allclose(LastLayerKernel(without, dtype=torch.float64).gram(z), 3 * h @ h.mT)
    with pytest.raises(UnsupportedNetworkError, match="does not end in a linear layer"):
        LastLayerKernel(nn.Sequential(nn.Linear(4, 3), nn.Tanh())).gram(torch.randn(2, 4))


def test_the_full_kernel_and_its_refusal(network: tuple[nn.Module, Tensor], device: torch.device) -> None:
    module, x = network
    rows = jacobians(module, x).flatten(0, 1)
    gram = FullKernel(module, dtype=torch.float64, device=device).gram(x).cpu()
    assert torch.allclose(gram, rows @ rows.mT, rtol=1e-10, atol=1e-10 * float(gram.diagonal().max()))
    assert torch.equal(gram, gram.mT)
    # The pseudo-NTK is the sum over all pairs of outputs, divided by their number.
    pseudo = gram.view(9, 4, 9, 4).sum(dim=(1, 3)) / 4
    assert torch.allclose(KernelEngine(module, dtype=torch.float64).gram(x), pseudo)
    with pytest.raises(TooLargeError, match="at most 7 items"):
        FullKernel(module, coordinates_max=31).gram(x)


def test_the_full_kernels_look_ahead_is_a_refit(network: tuple[nn.Module, Tensor]) -> None:
    module, x = network
    gram, outputs = FullKernel(module, dtype=torch.float64).gram(x), module(x).detach()
    labeled, labels = torch.tensor([4, 1, 7]), torch.tensor([2, 0, 3])
    ridge = 0.05 * float(gram.diagonal().mean())

    def refit(items: list[int], classes: list[int]) -> Tensor:
        at = [4 * item + c for item in items for c in range(4)]
        A = gram[at][:, at] + ridge * torch.eye(len(at), dtype=gram.dtype)
        Y = torch.eye(4, dtype=gram.dtype)[classes]
        fit: Tensor = outputs + (gram[:, at] @ torch.linalg.inv(A) @ (Y - outputs[items]).flatten()).view(9, 4)
        return fit

    fitted, covariance = regress(gram, outputs, ridge, labeled, labels)
    now = refit([4, 1, 7], [2, 0, 3])
    assert torch.allclose(fitted, now)
    candidates = torch.tensor([0, 2, 3, 5, 6, 8])
    expected = [
        (refit([4, 1, 7, item], [2, 0, 3, int(now[item].argmax())]) - now)[candidates].norm(dim=1).sum()
        for item in candidates.tolist()
    ]
    assert torch.allclose(mlmoc(covariance, fitted, ridge, candidates), torch.stack(expected))
    assert mlmoc(covariance, fitted, ridge, candidates[:0]).shape == (0,)


def test_projection_is_one_map_whatever_the_tiles(network: tuple[nn.Module, Tensor]) -> None:
    module, x = network
    whole = ProjectedKernel(KernelEngine(module, dtype=torch.float64), 64, seed=1).features(x)
    tiled = ProjectedKernel(KernelEngine(module, dtype=torch.float64, memory_bytes=1), 64, seed=1).features(x)
    assert torch.allclose(whole, tiled, atol=1e-12)
    other = ProjectedKernel(KernelEngine(module, dtype=torch.float64), 64, seed=2).features(x)
    assert not torch.allclose(whole, other)


def test_projection_is_unbiased_with_the_stated_variance() -> None:
    module, x = factories.mlp(6, [16, 8], 3), torch.randn(5, 6, dtype=torch.float64)
    expected = oracles.gram(module, x)
    engine = KernelEngine(module, dtype=torch.float64)
    found = torch.stack([ProjectedKernel(engine, 32, seed=seed).gram(x) for seed in range(400)])
    diagonal = expected.diagonal()
    variance = (torch.outer(diagonal, diagonal) + expected.square()) / 32
    assert bool(((found.mean(dim=0) - expected).abs() < 5 * (variance / 400).sqrt()).all())
    assert bool((found.var(dim=0) < 1.5 * variance).all())
    assert bool((found.var(dim=0) > 0.1 * variance).any())


def test_a_head_is_a_fresh_perceptron_on_features(network: tuple[nn.Module, Tensor]) -> None:
    module, x = network
    penultimate = Penultimate(module, dtype=torch.float64)
    h = module[:-1](x)  # type: ignore[index]
    assert torch.allclose(penultimate(x), h)
    kernel = HeadKernel(penultimate, penultimate.outputs, hidden=[8], seed=5, dtype=torch.float64)
    expected = oracles.gram(fresh_head(h.shape[1], [8], 4, 5).double(), h.detach())
    assert torch.allclose(kernel.gram(x), expected)
    assert torch.equal(flattened(x), x.flatten(1))
    state = torch.random.get_rng_state()
    fresh_head(3, [4], 2, 0)
    assert torch.equal(state, torch.random.get_rng_state())


class Wide(nn.Module):
    """A ReLU perceptron in the parametrisation of the limit: standard normal weights, scaled in the forward pass."""

    def __init__(self, features: int, width: int, depth: int, bias_variance: float) -> None:
        super().__init__()
        widths = [features, *([width] * depth), 1]
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(b, a)) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(nn.Parameter(torch.randn(b)) for b in widths[1:])
        self.scale = bias_variance**0.5

    def forward(self, x: Tensor) -> Tensor:
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = (2 / x.shape[1]) ** 0.5 * x @ weight.mT + self.scale * bias
            x = x.relu() if k + 1 < len(self.weights) else x
        return x


@pytest.mark.parametrize(("depth", "bias_variance"), [(0, 0.0), (1, 0.0), (2, 0.5)])
def test_the_infinite_kernel_is_the_limit(depth: int, bias_variance: float) -> None:
    x = torch.randn((5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.manual_seed(0)
    samples = [oracles.gram(Wide(4, 1000, depth, bias_variance).double(), x) for _ in range(24)]
    found = torch.stack(samples).mean(dim=0)
    expected = relu_ntk(x, x, depth, bias_variance=bias_variance)
    scale = expected.diagonal().sqrt()
    assert float(((found - expected).abs() / torch.outer(scale, scale)).max()) < 0.04


def test_the_infinite_kernel_in_known_points() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    found = relu_ntk(x, x, 1)
    # One hidden layer, unit inputs at angle φ: (κ₁(φ) + cos φ κ₀(φ)) with κ₁ = (sin φ + (π - φ) cos φ)/π.
    assert found[0, 0].item() == pytest.approx(2.0)
    assert found[0, 1].item() == pytest.approx(1 / math.pi)
    assert found[0, 2].item() == pytest.approx(0.0, abs=1e-6)
    assert found[3].abs().max().item() == 0
