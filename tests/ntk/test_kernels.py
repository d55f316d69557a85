"""The tangent kernel against per-example autograd, in float64, for everything that has a rule and for what has none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ntk.errors import NonFiniteError, UnsupportedNetworkError
from ntk.kernel import tile_plan
from ntk.kernels import KernelEngine
from ntk.products import Products, lower, mirror
from tests import factories, oracles
from tests.ntk.modules import BY_RULE, Lambda
from tests.ntk.unruly import PER_EXAMPLE, TOKENS

Tensor = torch.Tensor
ITEMS = 11


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest error relative to √(K_ii K_jj)."""
    scale = expected.diagonal().sqrt()
    return float(((found.cpu() - expected).abs() / torch.outer(scale, scale)).max())


def built(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    """A float64 network with statistics of its own, and items."""
    torch.manual_seed(0)
    with torch.no_grad():
        module = build().double()
    x = torch.randn((ITEMS, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    module.eval()(x)  # gives lazy layers their shapes
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_()  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            layer.weight.data.normal_()
    return module, x


@pytest.fixture(params=BY_RULE)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    return built(*BY_RULE[request.param])


def test_every_rule_equals_autograd(case: tuple[nn.Module, Tensor], device: torch.device) -> None:
    module, x = case
    expected = oracles.gram(module, x)
    engine = KernelEngine(module, dtype=torch.float64, device=device)
    found = engine.gram(x)
    assert engine.coverage(x).per_example == {}
    assert found.shape == (ITEMS, ITEMS)
    assert torch.equal(found, found.mT)
    assert relative_error(found, expected) < 1e-10
    # The second algorithm: materialised rows.
    assert relative_error(torch.diag(engine.diagonal(x)), torch.diag(expected.diagonal())) < 1e-10


def test_float32_is_close(case: tuple[nn.Module, Tensor], device: torch.device) -> None:
    module, x = case
    expected = oracles.gram(module, x)
    for precision in ("float64", "float32"):
        engine = KernelEngine(module, dtype=torch.float32, device=device, precision=precision)
        assert relative_error(engine.gram(x), expected) < 1e-5


def test_rows_are_the_gradients_in_the_parameters_layout(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    engine = KernelEngine(module, dtype=torch.float64)
    features = engine.features(x)
    expected = oracles.gram(module, x)
    for entries in (7, 10**6):
        pieces = [
            rows
            for form, parts in zip(features.forms, features.parts, strict=True)
            for rows in form.rows(parts, entries)
        ]
        rows = torch.cat(pieces, dim=1)
        assert rows.shape[1] <= sum(parameter.numel() for parameter in module.parameters())
        assert relative_error(rows @ rows.mT, expected) < 1e-10


@pytest.mark.parametrize("name", PER_EXAMPLE)
def test_what_has_no_rule_is_exact_too(name: str, device: torch.device) -> None:
    module, x = built(*PER_EXAMPLE[name])
    engine = KernelEngine(module, dtype=torch.float64, device=device)
    assert relative_error(engine.gram(x), oracles.gram(module, x)) < 1e-10
    coverage = engine.coverage(x)
    assert coverage.per_example
    assert all(coverage.per_example.values())
    assert coverage.looped == (name in {"depends on the data", "own function", "recomputed", "scripted"})


def test_a_pass_that_changes_late() -> None:
    """The first items all go one way: only later is it seen that others do not."""
    torch.manual_seed(0)

    def forward(self: Any, x: Tensor) -> Tensor:
        first = x[:, :1] > -50
        scores: Tensor = self.b(x if bool(first.all()) else torch.where(first, x, self.a(x)))
        return scores

    module = Lambda(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 3)).double()
    x = torch.randn(9, 4, dtype=torch.float64)
    x[:, 0] = torch.tensor([1.0] * 7 + [-1000.0] * 2)
    expected = oracles.gram(module, x)
    for square in (False, True):
        engine = KernelEngine(module, dtype=torch.float64)
        assert engine.coverage(x[:7]).per_example == {}
        assert relative_error(engine.gram(x) if square else engine.cross(x, x), expected) < 1e-10
        assert engine.coverage(x).looped
    ranges = tile_plan(9, 4)
    engine = KernelEngine(module, dtype=torch.float64)
    assert engine.coverage(x[:7]).per_example == {}
    panels = list(engine.panels(x, ranges, skip={4}))
    assert [start for start, _, _ in panels] == [0, 8]
    for start, stop, panel in panels:
        assert torch.allclose(panel, expected[start:stop, :stop], rtol=1e-10)


def test_blank_first_items_hide_nothing(device: torch.device) -> None:
    """On blank items a wrong guess of where the items are would look right."""
    module, x = built(*BY_RULE["items innermost"])
    x[:6] = 0
    engine = KernelEngine(module, dtype=torch.float64, device=device)
    assert relative_error(engine.gram(x), oracles.gram(module, x)) < 1e-10
    first = KernelEngine(module, dtype=torch.float64, device=device)
    first.gram(x[:6])
    assert relative_error(first.gram(x), oracles.gram(module, x)) < 1e-10


def test_a_pass_that_overwrites_its_input(device: torch.device) -> None:
    module = Lambda(lambda self, x: self.head(x.mul_(2)), head=nn.Linear(4, 3)).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    kept = x.clone()
    gram = KernelEngine(module, dtype=torch.float64, device=device).gram(x)
    assert torch.equal(x, kept)
    assert relative_error(gram, 4 * kept @ kept.mT + 1) < 1e-10


@pytest.mark.parametrize("name", TOKENS)
def test_embedding_tables(name: str, device: torch.device) -> None:
    torch.manual_seed(0)
    module = TOKENS[name]().double()
    x = torch.randint(7, (ITEMS, 5))
    engine = KernelEngine(module, dtype=torch.float64, device=device)
    expected = oracles.gram(module, x)
    assert relative_error(engine.gram(x), expected) < 1e-10
    assert relative_error(torch.diag(engine.diagonal(x)), torch.diag(expected.diagonal())) < 1e-10
    cross = engine.cross(x[:4], x[3:]).cpu()
    assert torch.allclose(cross, expected[:4, 3:], rtol=1e-9, atol=1e-12)
    assert engine.coverage(x).per_example == {}


def test_blocks_agree_whatever_the_tiles(case: tuple[nn.Module, Tensor], device: torch.device) -> None:
    module, x = case
    whole = KernelEngine(module, dtype=torch.float64, device=device)
    tiled = KernelEngine(module, dtype=torch.float64, device=device, memory_bytes=1)
    expected = whole.gram(x).cpu()
    assert relative_error(tiled.gram(x), expected) < 1e-12
    cross = tiled.cross(x[:7], x[5:]).cpu()
    assert torch.allclose(cross, expected[:7, 5:], rtol=1e-10, atol=1e-10 * float(expected.diagonal().max()))
    for engine in (whole, tiled):
        ranges = tile_plan(ITEMS, 4)
        for start, stop, panel in engine.panels(x, ranges):
            assert panel.shape == (stop - start, stop)
            assert torch.allclose(panel.cpu(), expected[start:stop, :stop], rtol=1e-10, atol=1e-12)
            assert torch.equal(panel[:, start:], panel[:, start:].mT)


def test_forms_are_chosen_by_count(device: torch.device) -> None:
    names = set()
    for name in ("few positions", "shifted", "mlp", "cnn"):
        module, x = built(*BY_RULE[name])
        names |= {entry.form for entry in KernelEngine(module, device=device).coverage(x).parts}
    assert names == {"materialised", "pairs of positions", "shifted pairs", "outer product", "rows"}


def test_one_logit_alone(device: torch.device) -> None:
    module, x = built(*BY_RULE["cnn"])
    found = KernelEngine(module, kind="single_logit", dtype=torch.float64, device=device).gram(x)
    first = Lambda(lambda self, x: self.module(x)[:, :1], module=module)
    assert relative_error(found, oracles.gram(first, x)) < 1e-10


def test_outputs_are_the_networks(device: torch.device) -> None:
    module, x = built(*BY_RULE["cnn"])
    assert torch.allclose(KernelEngine(module, dtype=torch.float64, device=device).outputs(x).cpu(), module(x))


def test_the_callers_network_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True)).double().train()
    before = [parameter.clone() for parameter in module.parameters()]
    x = torch.randn(3, 4)
    kept = x.clone()
    KernelEngine(module, dtype=torch.float32).gram(x)
    weight = next(module.parameters())
    assert (weight.dtype, weight.requires_grad, weight.grad, module.training) == (torch.float64, True, None, True)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert torch.equal(x, kept)
    assert not x.requires_grad


def test_the_same_twice() -> None:
    module, x = built(*BY_RULE["shifted"])
    first, second = (KernelEngine(module, precision="float32").gram(x) for _ in range(2))
    assert torch.equal(first, second)


def test_memory_does_not_grow_with_the_items() -> None:
    module, x = built(*BY_RULE["batch norm"])
    engine = KernelEngine(module, memory_bytes=1 << 20)
    many = x.repeat(40, 1, 1, 1)
    step = engine._rows_per_tile(many)
    assert 2 * engine.features(many[:step]).nbytes <= 1 << 20
    ticks: list[int] = []
    engine.gram(many, on_tile=lambda: ticks.append(1))
    tiles = -(-len(many) // step)
    assert len(ticks) >= tiles * (tiles + 1) // 2


def test_into_a_mapped_file(tmp_path: object) -> None:
    module, x = built(*BY_RULE["mlp"])
    engine = KernelEngine(module, dtype=torch.float64)
    mapped = torch.from_file(f"{tmp_path}/gram", shared=True, size=ITEMS * ITEMS, dtype=torch.float64)
    engine.gram(x, out=mapped.view(ITEMS, ITEMS))
    again = torch.from_file(f"{tmp_path}/gram", shared=False, size=ITEMS * ITEMS, dtype=torch.float64)
    assert torch.equal(again.view(ITEMS, ITEMS), engine.gram(x))


def test_no_items_one_item_and_numbers_that_are_none() -> None:
    engine = KernelEngine(nn.Linear(4, 3))
    assert engine.gram(torch.empty(0, 4)).shape == (0, 0)
    assert engine.diagonal(torch.empty(0, 4)).shape == (0,)
    assert engine.cross(torch.empty(0, 4), torch.randn(3, 4)).shape == (0, 3)
    assert engine.gram(torch.ones(1, 4)).item() == pytest.approx(5.0)
    x = torch.randn(5, 4)
    x[4] = torch.nan
    with pytest.raises(NonFiniteError):
        engine.gram(x)


def dropping(self: Any, x: Tensor) -> Tensor:
    scores: Tensor = self.last(nn.functional.dropout(self.layer(x)))
    return scores


def hooked() -> nn.Module:
    module: nn.Module = nn.utils.spectral_norm(nn.Linear(4, 3))
    module(torch.zeros(2, 4))
    return module


def mixing(self: Any, x: Tensor) -> Tensor:
    out: Tensor = self.layer(x).square()
    return out * out.mean(dim=0)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Flatten(), "no parameters"),
        (nn.LazyLinear(3), "run the network once"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False, track_running_stats=False)), "mixes"),
        (Lambda(dropping, layer=nn.Linear(4, 64), last=nn.Linear(64, 4)), "random"),
        (Lambda(mixing, layer=nn.Linear(4, 4)), "mixes"),
        (hooked(), "cannot be copied"),
        (nn.Conv1d(4, 3, 1), "class scores"),
        (Lambda(lambda self, x: (self.layer(x), x), layer=nn.Linear(4, 3)), "wrap it"),
    ],
    ids=["no parameters", "lazy", "batch statistics", "random", "mixing", "hooks", "no class scores", "two outputs"],
)
def test_what_has_no_kernel_is_refused(module: nn.Module, words: str) -> None:
    x = torch.randn(3, 4, 5) if isinstance(module, nn.Conv1d) else torch.randn(3, 4)
    with pytest.raises(UnsupportedNetworkError, match=words):
        KernelEngine(module).gram(x)


def test_integer_parameters_are_constants() -> None:
    module = nn.Linear(4, 3)
    module.levels = nn.Parameter(torch.arange(3), requires_grad=False)
    x = torch.randn(5, 4)
    assert torch.equal(KernelEngine(module).gram(x), KernelEngine(nn.Sequential(module)).gram(x))


def test_coarser_products(device: torch.device) -> None:
    module, x = factories.mlp(40, [64, 64], 5), torch.randn(50, 40, dtype=torch.float64)
    expected = oracles.gram(module, x)
    for precision, low, high in (("tf32", 1e-6, 3e-3), ("bf16", 1e-5, 2e-2)):
        engine = KernelEngine(module, precision=precision, device=device)  # type: ignore[arg-type]
        assert low < relative_error(engine.gram(x), expected) < high


@pytest.mark.parametrize("size", [0, 1, 5, 383, 384, 1000])
def test_lower_blocks_cover_the_lower_triangle_once(size: int) -> None:
    covered = torch.zeros(size, size)
    for rows, columns in lower(size):
        covered[rows, columns] += 1
    assert bool((covered.tril() == torch.ones(size, size).tril()).all())
    assert covered.max() <= 1 if size else True
    square = torch.randn(size, size)
    assert torch.equal(mirror(square.clone()), square.tril() + square.tril(-1).mT)


def test_products_agree_with_the_plain_one() -> None:
    a, b = torch.randn(7, 30), torch.randn(5, 60)[:, ::2]
    assert torch.allclose(Products("float32", torch.device("cpu")).inner(a, b), a @ b.mT, atol=1e-5)
    assert Products("float32", torch.device("cpu")).inner(a[:0], b).shape == (0, 5)


def test_tile_plan_covers_everything_once() -> None:
    assert tile_plan(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert tile_plan(0, 4) == []
