"""TypiClust by loops, and the k-means it stands on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk.acquisition.diversity import typiclust
from ntk.clusters import k_means
from tests.ntk.test_diversity import distance, free, normal, seeded, whole_numbers

Tensor = torch.Tensor
CPU = torch.device("cpu")


def typicality(features: Tensor, assignment: list[int], item: int) -> float:
    """One over the mean distance to the nearest of its cluster, half of them but 20 at most; 0 when alone."""
    others = [k for k, cluster in enumerate(assignment) if cluster == assignment[item] and k != item]
    near = sorted(distance(features[item], features[k]) for k in others)[: max(1, min(20, (len(others) + 1) // 2))]
    return len(near) / sum(near) if near else 0.0


def typical(
    features: Tensor, assignment: list[int], labeled: list[int], candidates: list[int], count: int
) -> list[int]:
    """TypiClust's picks as rows, by loops; the row is the key."""
    inside = {c: sum(assignment[k] == c for k in labeled) for c in set(assignment)}
    chosen: list[int] = []
    while len(chosen) < min(count, len(candidates)):
        left = [k for k in candidates if k not in chosen]
        cluster = min({assignment[k] for k in left}, key=lambda c: (inside[c], -assignment.count(c), c))
        mine = [k for k in left if assignment[k] == cluster]
        chosen.append(max(mine, key=lambda k: (typicality(features, assignment, k), -k)))
        inside[cluster] += 1
    return chosen


def blobs(sizes: list[int], seed: int) -> tuple[Tensor, list[int]]:
    """Clusters far from each other, items in random order, and the cluster of each."""
    of = [cluster for cluster, size in enumerate(sizes) for _ in range(size)]
    order = torch.randperm(len(of), generator=seeded(seed)).tolist()
    of = [of[k] for k in order]
    return 1000 * normal(seed, len(sizes), 3)[of] + normal(seed + 1, len(of), 3), of


def same_partition(one: list[int], other: list[int]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


@pytest.mark.parametrize("clusters", [1, 4, 9])
def test_k_means_finds_clusters_that_are_plain(clusters: int, device: torch.device) -> None:
    features, of = blobs([5 + k % 3 for k in range(clusters)], 1)
    found = k_means(features.to(device), clusters, 0)
    assert found.device.type == device.type
    assert same_partition(found.tolist(), of)
    assert torch.equal(found, k_means(features.to(device), clusters, 0))


def test_k_means_in_mini_batches_keeps_most_of_many_clusters_apart(device: torch.device) -> None:
    """From one start it may merge a few, but what it sets apart is apart."""
    features, of = blobs([5 + k % 3 for k in range(60)], 1)
    found = k_means(features.to(device), 60, 0).tolist()
    assert 45 <= len(set(zip(found, of, strict=True))) <= 75
    assert 45 <= len(set(found)) <= 60
    assert found == k_means(features.to(device), 60, 0).tolist()


def test_k_means_has_no_more_clusters_than_different_rows(device: torch.device) -> None:
    rows = normal(2, 3, 2)[[0, 1, 2, 0, 1, 2, 2]]
    assert same_partition(k_means(rows.to(device), 6, 0).tolist(), [0, 1, 2, 0, 1, 2, 2])
    assert k_means(rows[:1].to(device), 4, 0).tolist() == [0]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_typiclust_equals_loops_where_clusters_are_plain(count: int, device: torch.device) -> None:
    """As many clusters as labels and picks; clusters with labels come last, larger ones first."""
    labels = 6 - count
    sizes = [47, 9, 14, 1, 5, 2]
    features, of = blobs(sizes, 3)
    labeled = [of.index(cluster) for cluster in range(labels)]
    candidates = [k for k in range(len(of)) if k not in labeled][::-1]
    is_labeled = torch.zeros(len(of), dtype=torch.bool, device=device)
    is_labeled[labeled] = True
    picks, scores = typiclust(
        features.to(device),
        is_labeled,
        torch.tensor(candidates, device=device),
        free(len(candidates), device, candidates),
        count,
        0,
    )
    found = [candidates[k] for k in picks.tolist()]
    assert found == typical(features, of, labeled, candidates, count)
    assert scores.tolist() == pytest.approx([typicality(features, of, k) for k in found], rel=1e-9)
    left = sorted(range(labels, 6), key=lambda cluster: -sizes[cluster])
    assert [of[k] for k in found] == left


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 30), clusters=st.integers(1, 9), count=st.integers(0, 32))
def test_typiclust_equals_loops_for_any_clusters(seed: int, size: int, clusters: int, count: int) -> None:
    """Also for clusters with nobody in them, with one item, or with labeled items only."""
    features = whole_numbers(seed, size, 3) + 0.1 * normal(seed, size, 3)
    assignment = torch.randint(clusters, (size,), generator=seeded(seed + 1))
    is_labeled = torch.rand(size, generator=seeded(seed + 2)) < 0.3
    order = torch.randperm(size, generator=seeded(seed + 3))
    candidates = order[~is_labeled[order]]
    asked: list[int] = []

    def given_clusters(rows: Tensor, wanted: int, own_seed: int) -> Tensor:
        asked.extend([wanted, own_seed])
        return assignment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ntk.acquisition.diversity.k_means", given_clusters)
        allowed = free(len(candidates), CPU, candidates.tolist())
        picks, scores = typiclust(features, is_labeled, candidates, allowed, count, seed)
    found = candidates[picks].tolist()
    labeled = is_labeled.nonzero()[:, 0].tolist()
    assert asked == [min(len(labeled) + count, 500), seed]
    assert found == typical(features, assignment.tolist(), labeled, candidates.tolist(), count)
    assert scores.tolist() == pytest.approx([typicality(features, assignment.tolist(), k) for k in found], rel=1e-6)
    assert len(set(found)) == len(found) == min(count, len(candidates))


def test_clusters_are_500_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def none(rows: Tensor, wanted: int, seed: int) -> Tensor:
        asked.append(wanted)
        return torch.zeros(len(rows), dtype=torch.long)

    monkeypatch.setattr("ntk.acquisition.diversity.k_means", none)
    features, is_labeled = normal(4, 700, 2), torch.arange(700) < 300
    typiclust(features, is_labeled, torch.arange(300, 700), free(400, CPU), 250, 0)
    assert asked == [500]


def test_typicality_in_tiles_has_twenty_neighbours_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of more items than one tile has, where an item's own place is further on in the rows."""
    monkeypatch.setattr("ntk.acquisition.diversity.k_means", lambda rows, *_: torch.zeros(len(rows), dtype=torch.long))
    features, size = normal(5, 1100, 2), 1100
    held = torch.zeros(size, dtype=torch.bool)
    picks, scores = typiclust(features, held, torch.arange(size), free(size, CPU), size, 0)
    for place in (0, 1, 500, 1099):
        assert float(scores[place]) == pytest.approx(typicality(features, [0] * size, int(picks[place])), rel=1e-9)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert {int(pick) >= 1024 for pick in picks} == {True, False}


def test_typiclust_keeps_to_rules_and_to_keys(device: torch.device) -> None:
    """Quotas bind; copies of one item come in the order of their keys with scores that are numbers."""
    features = torch.ones((9, 3), dtype=torch.float64, device=device)
    none = torch.zeros(9, dtype=torch.bool, device=device)
    keys = [4, 8, 0, 2, 6, 1, 7, 3, 5]
    everyone = torch.arange(9, device=device)
    picks, scores = typiclust(features, none, everyone, free(9, device, keys), 9, 0)
    assert [keys[k] for k in picks.tolist()] == list(range(9))
    assert bool(torch.isfinite(scores).all())
    rules = {"classes": torch.tensor([0, 1, 2] * 3), "quota": torch.tensor([1, 0, 2])}
    picks, _ = typiclust(features, none, everyone, free(9, device, keys, **rules), 9, 0)
    assert [keys[k] for k in picks.tolist()] == [0, 1, 2]
    assert [k % 3 for k in picks.tolist()] == [2, 2, 0]


def test_typiclust_follows_its_seed_and_spreads(device: torch.device) -> None:
    """One pick from each of the clusters nobody has labeled, whatever the seed, and the same again for one seed."""
    features, of = blobs([6, 7, 8, 9, 10], 6)
    none = torch.zeros(len(of), dtype=torch.bool, device=device)
    everyone = torch.arange(len(of), device=device)
    for seed in range(3):
        one, other = (
            typiclust(features.to(device), none, everyone, free(len(of), device), 5, seed)[0].tolist() for _ in range(2)
        )
        assert one == other
        assert [of[k] for k in one] == [4, 3, 2, 1, 0]
