"""NPC: searches against brute force, the fallback for low rank, and what every strategy keeps to."""

import itertools
import math

import pytest
import torch

from ntk.acquisition.bordered import Bordered, LogDeterminant
from ntk.acquisition.npc import Found, greedy_search, npc, numerical_rank, random_search, swap_search
from ntk.errors import NonFiniteError, NotPositiveDefiniteError
from ntk.selection import Allowed
from tests.ntk.test_bordered import RIDGE, bordered, duplicated, kernel, log_det, smallest, some_subsets

Tensor = torch.Tensor
SEARCHES = ["random", "greedy", "swap"]


def search(gram: Tensor, n: int, device: torch.device, **changed: object) -> Found:
    gram = gram.to(device)
    m = len(gram) - n
    arguments: dict[str, object] = {
        "ridge": RIDGE,
        "count": 4,
        "num_subsets": 60,
        "search": "random",
        "generator": torch.Generator().manual_seed(7),
        "allowed": torch.ones(m, dtype=torch.bool, device=device),
        "order": torch.arange(m, device=device),
    }
    return npc(gram[:n, :n], gram[:n, n:], gram[n:, n:], **{**arguments, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("features", [60, 6], ids=["full rank", "low rank"])
def test_results_follow_items_not_their_order(kind: str, features: int, device: torch.device) -> None:
    n, gram = 10, kernel(25, 40, features)
    keys = torch.randperm(30, generator=torch.Generator().manual_seed(1)).to(device)
    allowed = torch.ones(30, dtype=torch.bool, device=device)
    allowed[::4] = False
    one = search(gram, n, device, search=kind, allowed=allowed, order=keys)
    shuffle = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    at = torch.cat([torch.arange(n), n + shuffle])
    moved = shuffle.to(device)
    other = search(gram[at][:, at], n, device, search=kind, allowed=allowed[moved], order=keys[moved])
    assert one.indices.tolist() == moved[other.indices].tolist()
    assert one.fallback == other.fallback == (features == 6)
    assert one.value == pytest.approx(other.value, rel=1e-9)
    assert bool(allowed[one.indices].all())
    assert len(set(one.indices.tolist())) == 4


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_seed_gives_the_same_again(kind: str, device: torch.device) -> None:
    gram = kernel(26, 40, 60)
    one, other = search(gram, 10, device, search=kind), search(gram, 10, device, search=kind)
    assert one.indices.tolist() == other.indices.tolist()
    assert one.value == other.value
    assert one.value == pytest.approx(smallest(gram, 10, one.indices.tolist()), rel=1e-9)
    if kind == "random":
        seeds = [torch.Generator().manual_seed(seed) for seed in range(5)]
        picked = {tuple(search(gram, 10, device, num_subsets=1, generator=seed).indices.tolist()) for seed in seeds}
        assert len(picked) > 1


def test_random_subsets_are_uniform(device: torch.device) -> None:
    class Recorder:
        subsets: Tensor

        def best_subset(self, subsets: Tensor) -> tuple[int, float]:
            self.subsets = subsets
            return 0, 0.0

        def extended(self, indices: Tensor) -> "Recorder":
            return self

    seen = Recorder()
    allowed = torch.ones(9, dtype=torch.bool, device=device)
    allowed[4] = False
    generator = torch.Generator().manual_seed(0)
    # All 56 subsets of three would be tried: the number is kept below.
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(500):
        random_search(seen, allowed, 3, 50, generator, torch.arange(9, device=device))
        for subset in seen.subsets.tolist():
            counts[tuple(subset)] = counts.get(tuple(subset), 0) + 1
    assert set(counts) == set(itertools.combinations([0, 1, 2, 3, 5, 6, 7, 8], 3))
    expected = 25000 / 56
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 55 + 4 * math.sqrt(2 * 55)


def test_all_subsets_are_tried_where_they_are_few(device: torch.device) -> None:
    gram = kernel(27, 16, 60)
    single = search(gram, 8, device, count=1, num_subsets=8)
    values = [smallest(gram, 8, [k]) for k in range(8)]
    assert single.subsets == 8
    assert single.indices.tolist() == [values.index(max(values))]
    pairs = search(gram, 8, device, count=2, num_subsets=28)
    best = max(itertools.combinations(range(8), 2), key=lambda pair: smallest(gram, 8, list(pair)))
    assert pairs.subsets == 28
    assert pairs.indices.tolist() == list(best)


@pytest.mark.parametrize("n", [0, 10])
def test_greedy_equals_brute_force(n: int, device: torch.device) -> None:
    gram = kernel(28, 30, 60)
    picked = greedy_search(
        bordered(gram, n, device),
        torch.ones(30 - n, dtype=torch.bool, device=device),
        5,
        torch.arange(30 - n, device=device),
    )
    expected: list[int] = []
    for _ in range(5):
        rest = [k for k in range(30 - n) if k not in expected]
        expected.append(max(rest, key=lambda k: smallest(gram, n, [*expected, k])))
    assert picked.indices.tolist() == expected
    assert picked.value == pytest.approx(smallest(gram, n, expected), rel=1e-10)


def test_greedy_fallback_equals_brute_force(device: torch.device) -> None:
    gram = kernel(29, 30, 6)
    found = search(gram, 10, device, search="greedy", count=5)
    expected: list[int] = []
    for _ in range(5):
        rest = [k for k in range(20) if k not in expected]
        expected.append(max(rest, key=lambda k: log_det(gram, 10, [*expected, k], RIDGE)))
    assert found.fallback
    assert found.indices.tolist() == expected
    assert found.value == pytest.approx(log_det(gram, 10, expected, RIDGE), rel=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_a_swap_is_never_worse_and_ends_where_none_helps(seed: int, device: torch.device) -> None:
    gram = kernel(30 + seed, 30, 60)
    border = bordered(gram, 10, device)
    order = torch.arange(20, device=device)
    allowed = torch.ones(20, dtype=torch.bool, device=device)
    allowed[:2] = False
    start = some_subsets(18, 4, 1, seed)[0].to(device) + 2
    once = swap_search(border, start, allowed, order, 1)
    ended = swap_search(border, start, allowed, order, 50)
    before = smallest(gram, 10, start.tolist())
    assert before <= once.value <= ended.value
    assert ended.value > before
    chosen = ended.indices.tolist()
    for place, other in itertools.product(range(4), set(range(2, 20)) - set(chosen)):
        replaced = [*chosen[:place], other, *chosen[place + 1 :]]
        assert smallest(gram, 10, replaced) <= ended.value * (1 + 1e-9)


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize(("n", "features"), [(4, 7), (12, 7), (0, 3)], ids=["border", "labeled", "nothing labeled"])
def test_a_last_layer_kernel_falls_back(n: int, features: int, kind: str, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn((30, features), generator=generator, dtype=torch.float64).relu()
    gram = hidden @ hidden.mT + 1  # rank d + 1 at most
    found = search(gram, n, device, search=kind, count=5)
    assert found.fallback
    assert found.rank == min(features + 1, n + 5)
    assert found.value == pytest.approx(log_det(gram, n, found.indices.tolist(), RIDGE), rel=1e-7)
    assert (found.labeled_value is None) == (n == 0)
    enough = search(gram, min(n, 3), device, search=kind, count=1)
    assert not enough.fallback
    assert enough.rank == min(n, 3) + 1


def test_random_fallback_ranks_the_same_subsets(device: torch.device) -> None:
    gram = kernel(35, 30, 6)
    found = search(gram, 10, device)
    picked = random_search(
        LogDeterminant(bordered(gram, 10, device), RIDGE),
        torch.ones(20, dtype=torch.bool, device=device),
        4,
        60,
        torch.Generator().manual_seed(7),
        torch.arange(20, device=device),
    )
    assert found.fallback
    assert found.indices.tolist() == picked.indices.tolist()
    assert found.value == picked.value


def test_copies_among_labels_fall_back(device: torch.device) -> None:
    found = search(duplicated(kernel(36, 30, 60), [(0, 1)]), 10, device)
    assert found.fallback
    assert found.rank == 13
    assert found.labeled_value == pytest.approx(0, abs=1e-10)


def test_entries_stored_in_float32_raise_the_threshold(device: torch.device) -> None:
    low = kernel(37, 30, 6)
    assert search(low.float(), 10, device).fallback
    assert not search(kernel(37, 30, 60).float(), 10, device).fallback


def test_numerical_rank() -> None:
    for features in (1, 5, 20, 80):
        gram = kernel(38, 40, features, mean=3)
        assert numerical_rank(torch.linalg.eigvalsh(gram), 40) == min(features, 40)
    assert numerical_rank(torch.zeros(4, dtype=torch.float64), 4) == 0
    assert numerical_rank(torch.empty(0, dtype=torch.float64), 0) == 0


@pytest.mark.parametrize("kind", SEARCHES)
def test_fewer_allowed_than_asked_for(kind: str, device: torch.device) -> None:
    gram = kernel(39, 30, 60)
    allowed = torch.zeros(20, dtype=torch.bool, device=device)
    nothing = search(gram, 10, device, search=kind, allowed=allowed)
    assert len(nothing.indices) == 0
    assert math.isnan(nothing.value)
    assert nothing.subsets == 0
    allowed[[3, 8, 11]] = True
    found = search(gram, 10, device, search=kind, allowed=allowed)
    assert sorted(found.indices.tolist()) == [3, 8, 11]
    assert found.value == pytest.approx(smallest(gram, 10, [3, 8, 11]), rel=1e-9)


@pytest.mark.parametrize("kind", SEARCHES)
def test_rules_hold_in_every_subset(kind: str, device: torch.device) -> None:
    gram = kernel(40, 34, 60)
    classes = torch.arange(24, device=device) % 3
    quota = torch.tensor([1, 2, 5], device=device)
    ring = torch.arange(24, device=device)

    def near(index: int) -> Tensor:
        """Within one place."""
        return (ring - index).abs() <= 1

    everything = torch.ones(24, dtype=torch.bool, device=device)
    state = Allowed(everything, ring, classes=classes, quota=quota, near=near)
    found = search(gram, 10, device, search=kind, count=6, rules=lambda: state.fork().take)
    picks = sorted(found.indices.tolist())
    assert len(picks) == 6
    assert all(b - a > 1 for a, b in itertools.pairwise(picks))
    assert all(sum(k % 3 == c for k in picks) <= q for c, q in enumerate(quota.tolist()))
    assert state.count() == 24
    # A quota that ends all subsets early: they come short, and the value is theirs.
    state = Allowed(everything, ring, classes=classes, quota=torch.tensor([1, 1, 0], device=device))
    short = search(gram, 10, device, search=kind, count=6, rules=lambda: state.fork().take, allowed=state.mask)
    assert sorted(k % 3 for k in short.indices.tolist()) == [0, 1]
    assert short.value == pytest.approx(smallest(gram, 10, short.indices.tolist()), rel=1e-9)


def test_walks_that_end_short_are_left_out(device: torch.device) -> None:
    gram = kernel(41, 15, 60)
    everything = torch.ones(5, dtype=torch.bool, device=device)
    ring = torch.arange(5, device=device)
    state = Allowed(everything, ring, near=lambda index: (ring - index).abs() <= 1)
    found = search(gram, 10, device, count=3, num_subsets=40, rules=lambda: state.fork().take)
    assert sorted(found.indices.tolist()) == [0, 2, 4]
    assert 0 < found.subsets < 40


def test_what_cannot_be_is_refused(device: torch.device) -> None:
    gram = kernel(42, 12, 20)
    for wrong in ({"count": 0}, {"num_subsets": 0}, {"ridge": 0.0}, {"ridge": math.inf}):
        with pytest.raises(ValueError, match="at least 1"):
            search(gram, 4, device, **wrong)
    with pytest.raises(ValueError, match="one entry for each candidate"):
        search(gram, 4, device, allowed=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\(n, n\) and \(n, m\)"):
        Bordered(gram[:4, :4], gram[:3, 4:], gram[4:, 4:])
    with pytest.raises(ValueError, match=r"has to be \(8, 8\)"):
        Bordered(gram[:4, :4], gram[:4, 4:], gram[:4, :4])
    gram[5, 6] = torch.nan
    with pytest.raises(NonFiniteError):
        search(gram, 4, device)
    with pytest.raises(NotPositiveDefiniteError, match="use a larger one"):
        search(kernel(43, 40, 3, mean=100), 20, device, ridge=1e-14)


def test_who_watches_can_stop(device: torch.device) -> None:
    def stop() -> None:
        raise InterruptedError

    for kind in SEARCHES:
        with pytest.raises(InterruptedError):
            search(kernel(44, 30, 60), 10, device, search=kind, on_tile=stop)
