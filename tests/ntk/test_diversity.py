"""Coreset and BADGE against all distances written out, and what both keep to."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk.acquisition.diversity import GradientEmbedding, badge, coreset
from ntk.acquisition.dynamics import loss_weights
from ntk.distances import kernel_squared_distances, nearest_squared, squared_distances
from ntk.errors import NonFiniteError
from ntk.selection import Allowed
from tests import factories, strategy_oracles

Tensor = torch.Tensor


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def whole_numbers(seed: int, *shape: int) -> Tensor:
    """Few values, so that ties and copies abound, and no rounding."""
    return torch.randint(-2, 3, shape, generator=seeded(seed)).double()


def free(m: int, device: torch.device, keys: list[int] | None = None, **rules: Tensor) -> Allowed:
    numbers = torch.tensor(list(range(m)) if keys is None else keys, device=device)
    moved = {name: rule.to(device) for name, rule in rules.items()}
    return Allowed(torch.ones(m, dtype=torch.bool, device=device), numbers, **moved)  # type: ignore[arg-type]


def distance(a: Tensor, b: Tensor) -> float:
    return math.sqrt(sum((p - q) ** 2 for p, q in zip(a.tolist(), b.tolist(), strict=True)))


def outer_products(residuals: Tensor, features: Tensor) -> Tensor:
    """(m, C·D), written out."""
    return torch.stack([torch.outer(r, h).flatten() for r, h in zip(residuals, features, strict=True)])


# Distances


def test_distances_equal_loops(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(0, 9, 4), normal(1, 5, 4)
    expected = torch.tensor([[distance(p, q) ** 2 for q in b] for p in a], dtype=torch.float64)
    found = squared_distances(a.to(device), b.to(device)).cpu()
    assert torch.allclose(found, expected, rtol=1e-12)
    monkeypatch.setattr("ntk.distances._TILE_ENTRIES", 11)
    assert torch.allclose(nearest_squared(a.to(device), b.to(device)).cpu(), expected.amin(dim=1), rtol=1e-12)
    assert torch.equal(nearest_squared(a, b[:0]), torch.full((9,), torch.inf, dtype=torch.float64))


def test_items_that_are_alike_are_at_no_distance(device: torch.device) -> None:
    """Also where products are summed in another order from row to row, far from the origin."""
    x = (normal(2, 3, 130) + 50).repeat(35, 1).to(device)
    residuals = normal(3, 3, 10).repeat(35, 1).to(device)
    embedding = GradientEmbedding(residuals, x)
    for k in range(0, 105, 7):
        alike = torch.arange(105, device=device) % 3 == k % 3
        for found in (squared_distances(x, x[k : k + 1])[:, 0], embedding.squared_distances(k)):
            assert torch.equal(found == 0, alike)


def test_kernel_distances_are_those_of_its_features(device: torch.device) -> None:
    features, items = normal(4, 8, 20), [6, 1, 3, 7]
    of = kernel_squared_distances((features @ features.mT).to(device), torch.tensor(items, device=device))
    for k, item in enumerate(items):
        expected = [distance(features[item], features[other]) ** 2 for other in items]
        assert of(k).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


# Coreset


@pytest.mark.parametrize("seed", range(3))
def test_coreset_equals_distances_written_out(seed: int, device: torch.device) -> None:
    features, centres = normal(seed, 30, 3), normal(seed + 9, 4, 3)
    picks, scores = coreset(features.to(device), centres.to(device), free(30, device), 8)
    expected = strategy_oracles.k_centre(features, centres, 8)
    assert picks.tolist() == expected
    for step, (pick, score) in enumerate(zip(expected, scores.tolist(), strict=True)):
        held = [*centres, *features[expected[:step]]]
        assert score == pytest.approx(min(distance(features[pick], c) for c in held), rel=1e-9)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_coreset_without_labels_starts_from_the_middle(device: torch.device) -> None:
    features = normal(5, 25, 4)
    picks, scores = coreset(features.to(device), features[:0].to(device), free(25, device), 6)
    mean = torch.tensor([sum(column) / 25 for column in features.mT.tolist()], dtype=torch.float64)
    to_mean = [distance(row, mean) for row in features]
    first = to_mean.index(min(to_mean))
    assert int(picks[0]) == first
    assert float(scores[0]) == pytest.approx(to_mean[first], rel=1e-9)
    rest = strategy_oracles.k_centre(features, features[first : first + 1], 5)
    assert picks[1:].tolist() == rest


@pytest.mark.parametrize("seed", range(4))
def test_coreset_is_within_twice_the_best_radius(seed: int, device: torch.device) -> None:
    """What greedy k-centre guarantees, against every subset."""
    features = normal(seed, 11, 2)
    picks, _ = coreset(features.to(device), features[:0].to(device), free(11, device), 3)

    def radius(chosen: tuple[int, ...]) -> float:
        return max(min(distance(row, features[k]) for k in chosen) for row in features)

    best = min(radius(chosen) for chosen in itertools.combinations(range(11), 3))
    assert best <= radius(tuple(picks.tolist())) <= 2 * best


# BADGE


def test_embedding_is_the_last_layers_gradient(device: torch.device) -> None:
    module, x = factories.mlp(5, [7], 4), normal(6, 9, 5)
    h = module[:-1](x).detach()  # type: ignore[index]
    outputs = module(x).detach()
    pseudo = outputs.argmax(dim=1)
    rows = []
    for k in range(9):
        loss = torch.nn.functional.cross_entropy(module(x[k : k + 1]), pseudo[k : k + 1])
        rows.append(torch.autograd.grad(loss, [module[-1].weight])[0].flatten())  # type: ignore[index]
    embedding = GradientEmbedding(loss_weights(outputs, pseudo).to(device), h.to(device))
    assert embedding.squares.tolist() == pytest.approx([float(row.square().sum()) for row in rows], rel=1e-10)
    for k in range(9):
        expected = [distance(row, rows[k]) ** 2 for row in rows]
        assert embedding.squared_distances(k).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def plus_plus(g: Tensor, dealt: list[list[int]], count: int, generator: torch.Generator) -> list[int]:
    """BADGE with embeddings written out: the parts in turn, shares that differ by one at most."""
    chosen: list[int] = []
    for k, part in enumerate(dealt):
        share = count // len(dealt) + (1 if k < count % len(dealt) else 0)
        mine: list[int] = []
        while len(mine) < share:
            left = [i for i in sorted(part) if i not in mine]
            if not mine:
                mine.append(max(left, key=lambda i: (float(g[i].norm()), -i)))
                continue
            chances = [min(distance(g[i], g[j]) for j in mine) ** 2 for i in left]
            at = float(torch.rand((), dtype=torch.float64, generator=generator)) * sum(chances)
            mine.append(next(i for i, reached in zip(left, itertools.accumulate(chances), strict=True) if reached > at))
        chosen += mine
    return chosen


@pytest.mark.parametrize("partitions", [1, 3, 5, 40])
@pytest.mark.parametrize("count", [1, 7, 23])
def test_badge_equals_outer_products_written_out(count: int, partitions: int, device: torch.device) -> None:
    residuals, features = normal(7, 23, 3), normal(8, 23, 6)
    g = outer_products(residuals, features)
    embedding = GradientEmbedding(residuals.to(device), features.to(device))
    picks, scores = badge(embedding, free(23, device), count, seeded(11), partitions)
    generator = seeded(11)
    order = torch.randperm(23, generator=generator).tolist()
    parts, size = min(partitions, count), 23
    bounds = [k * (size // parts) + min(k, size % parts) for k in range(parts + 1)]
    dealt = [order[start:stop] for start, stop in itertools.pairwise(bounds)]
    assert picks.tolist() == plus_plus(g, dealt, count, generator)
    owner = {item: k for k, part in enumerate(dealt) for item in part}
    for step, pick in enumerate(picks.tolist()):
        held = [j for j in picks[:step].tolist() if owner[j] == owner[pick]]
        expected = min((distance(g[pick], g[j]) for j in held), default=float(g[pick].norm()))
        assert float(scores[step]) == pytest.approx(expected, rel=1e-9)


def test_badge_draws_in_proportion_to_squared_distance(device: torch.device) -> None:
    residuals, features = normal(9, 6, 2), normal(10, 6, 3)
    g = outer_products(residuals, features)
    embedding = GradientEmbedding(residuals.to(device), features.to(device))
    first = max(range(6), key=lambda i: float(g[i].norm()))
    chances = [distance(g[i], g[first]) ** 2 for i in range(6)]
    draws = 2000
    counts = [0] * 6
    generator = seeded(3)
    for _ in range(draws):
        one, two = badge(embedding, free(6, device), 2, generator)[0].tolist()
        assert one == first
        counts[two] += 1
    expected = [draws * chance / sum(chances) for chance in chances]
    assert counts[first] == 0
    found = sum((c - e) ** 2 / e for k, (c, e) in enumerate(zip(counts, expected, strict=True)) if k != first)
    assert found < 4 + 5 * math.sqrt(2 * 4)


def test_badge_goes_by_keys_when_all_that_is_left_is_a_copy(device: torch.device) -> None:
    """Sums differ from row to row in their last digits: a copy must not look like something new."""
    residuals, features = normal(11, 3, 10).repeat(35, 1), (normal(12, 3, 130) + 5).repeat(35, 1)
    keys = torch.randperm(105, generator=seeded(1)).tolist()
    embedding = GradientEmbedding(residuals.to(device), features.to(device))
    picks, scores = badge(embedding, free(105, device, keys), 105, seeded(2))
    assert sorted(picks.tolist()) == list(range(105))
    assert {pick % 3 for pick in picks[:3].tolist()} == {0, 1, 2}
    rest = [keys[pick] for pick in picks[3:].tolist()]
    assert rest == sorted(rest)
    assert not scores[3:].any()


def test_badge_never_draws_what_has_no_chance(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draw of exactly nought falls on the first item that is no copy of a pick."""
    of = [1, 1, 0, 1, 2]  # the longest and its copies come first
    embedding = GradientEmbedding(normal(15, 3, 2)[of].to(device), normal(16, 3, 4)[of].to(device))
    monkeypatch.setattr(torch, "rand", lambda *_, **options: torch.zeros((), dtype=options["dtype"]))
    picks = badge(embedding, free(5, device), 3, seeded(0))[0].tolist()
    assert picks == [0, 2, 4]


def test_badge_fills_up_where_rules_leave_a_part_short(device: torch.device) -> None:
    """One of the last part's class may be picked, whatever it has: the others' items make up for it."""
    generator = seeded(4)
    order = torch.randperm(10, generator=seeded(4))
    classes = torch.zeros(10, dtype=torch.long)
    classes[order[5:]] = 1
    embedding = GradientEmbedding(normal(13, 10, 3).to(device), normal(14, 10, 4).to(device))
    allowed = free(10, device, classes=classes, quota=torch.tensor([10, 1]))
    picks, scores = badge(embedding, allowed, 6, generator, 2)
    assert len(set(picks.tolist())) == 6
    assert classes[picks.cpu()].tolist() == [0, 0, 0, 1, 0, 0]
    g = outer_products(normal(13, 10, 3), normal(14, 10, 4))
    for step in (4, 5):
        expected = min(distance(g[int(picks[step])], g[k]) for k in picks[:step].tolist())
        assert float(scores[step]) == pytest.approx(expected, rel=1e-9)


def test_not_a_number_is_refused(device: torch.device) -> None:
    bad = torch.full((4, 2), torch.nan, dtype=torch.float64, device=device)
    with pytest.raises(NonFiniteError):
        coreset(bad, bad[:0], free(4, device), 2)
    with pytest.raises(NonFiniteError):
        badge(GradientEmbedding(bad, bad), free(4, device), 2, seeded(0))


# What both keep to


def picked(name: str, seed: int, items: Tensor, count: int, allowed: Allowed) -> list[int]:
    """Picks among rows of whole numbers, of which the first two columns stand for residuals."""
    if name == "coreset":
        return coreset(items, whole_numbers(seed + 1, seed % 3, 4), allowed, count)[0].tolist()
    partitions = 1 + seed % 4
    return badge(GradientEmbedding(items[:, :2], items[:, 2:]), allowed, count, seeded(seed), partitions)[0].tolist()


@pytest.mark.parametrize("name", ["coreset", "badge"])
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), m=st.integers(0, 14), count=st.integers(0, 16))
def test_picks_follow_items_not_their_order_and_never_repeat(name: str, seed: int, m: int, count: int) -> None:
    cpu = torch.device("cpu")
    items = whole_numbers(seed, m, 4)
    keys = torch.randperm(m, generator=seeded(seed + 2))
    classes = torch.randint(3, (m,), generator=seeded(seed + 3))
    quota = torch.randint(0, 5, (3,), generator=seeded(seed + 4))
    one = picked(name, seed, items, count, free(m, cpu, keys.tolist(), classes=classes, quota=quota))
    shuffle = torch.randperm(m, generator=seeded(seed + 5))
    rules = {"classes": classes[shuffle], "quota": quota}
    other = picked(name, seed, items[shuffle], count, free(m, cpu, keys[shuffle].tolist(), **rules))
    assert one == [int(shuffle[k]) for k in other]
    assert len(set(one)) == len(one)
    held = [min(int((classes == c).sum()), int(quota[c])) for c in range(3)]
    assert len(one) == min(count, sum(held))
    assert all(sum(int(classes[k]) == c for k in one) <= held[c] for c in range(3))
