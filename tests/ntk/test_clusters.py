"""Clusters: k-means and its constrained form against loops, and what they promise about seeds, copies and labels."""

import numpy as np
import pytest
import torch

from ntk.clusters import Constrained, constrained_k_means, k_means

Tensor = torch.Tensor


def groups(assignment: Tensor) -> set[frozenset[int]]:
    """The partition, whatever its clusters are called."""
    return {frozenset((assignment == k).nonzero()[:, 0].tolist()) for k in assignment.unique()}


def blobs(seed: int, sizes: list[int], spread: float, features: int = 3) -> tuple[Tensor, list[int]]:
    """Rows around random centres, in random order, and which centre each is of."""
    generator = torch.Generator().manual_seed(seed)
    of = torch.tensor([k for k, size in enumerate(sizes) for _ in range(size)])
    of = of[torch.randperm(len(of), generator=generator)]
    centres = 10 * torch.randn((len(sizes), features), generator=generator, dtype=torch.float64)
    noise = torch.randn((len(of), features), generator=generator, dtype=torch.float64)
    return centres[of] + spread * noise, of.tolist()


def distance(a: list[float], b: list[float]) -> float:
    return sum((x - z) ** 2 for x, z in zip(a, b, strict=True))


def mean(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def lloyd(
    rows: list[list[float]], start: list[int], labeled: list[int], labels: list[int]
) -> tuple[list[int], list[list[float]], int]:
    """Constrained Lloyd's iterations from a partition, all loops: (assignment, centres, conflicts)."""
    clusters = range(max(start) + 1)
    now, conflicts = start, 0
    centres = [mean([rows[k] for k in range(len(rows)) if now[k] == c]) for c in clusters]
    by_size = sorted(set(labels), key=lambda y: (-labels.count(y), y))
    for _ in range(100):
        nearest = [min(clusters, key=lambda c: distance(row, centres[c])) for row in rows]
        then, free = list(nearest), list(clusters)
        for y in by_size:
            members = [item for item, own in zip(labeled, labels, strict=True) if own == y]
            if free:
                best = min(free, key=lambda c: sum(distance(rows[item], centres[c]) for item in members))
                free.remove(best)
                for item in members:
                    then[item] = best
        conflicts = sum(then[item] != nearest[item] for item in labeled)
        own = [[rows[k] for k in range(len(rows)) if then[k] == c] for c in clusters]
        centres = [mean(found) if found else before for found, before in zip(own, centres, strict=True)]
        if then == now:
            return then, centres, conflicts
        now = then
    raise AssertionError("the oracle has not converged")


def check_constraints(found: Constrained, labeled: list[int], labels: list[int]) -> None:
    """One class, one cluster; two classes, two clusters."""
    of = {y: {int(found.assignment[k]) for k, own in zip(labeled, labels, strict=True) if own == y} for y in labels}
    assert all(len(clusters) == 1 for clusters in of.values())
    assert len(set.union(*of.values())) == len(of)


# k-means


@pytest.mark.parametrize("seed", range(4))
def test_k_means_finds_groups_far_apart(seed: int, device: torch.device) -> None:
    x, of = blobs(seed, [12, 7, 20, 1], 0.05)
    found = k_means(x.to(device), 4, seed)
    assert found.shape == (40,)
    assert found.dtype == torch.long
    assert found.device.type == device.type
    assert groups(found.cpu()) == groups(torch.tensor(of))
    assert set(found.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(4))
def test_k_means_leaves_every_item_with_its_nearest_mean(seed: int, device: torch.device) -> None:
    x, _ = blobs(seed, [60], 1.0)
    found = k_means(x.to(device), 5, seed).tolist()
    rows = x.tolist()
    centres = [mean([row for row, c in zip(rows, found, strict=True) if c == k]) for k in range(5)]
    for row, own in zip(rows, found, strict=True):
        assert distance(row, centres[own]) == pytest.approx(min(distance(row, centre) for centre in centres))


@pytest.mark.parametrize("clusters", [4, 60], ids=["whole", "mini-batches"])
def test_k_means_is_the_same_for_the_same_seed(clusters: int, device: torch.device) -> None:
    x = blobs(0, [150], 1.0)[0].to(device)
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    one, other = k_means(x, clusters, 5), k_means(x, clusters, 5)
    after = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    assert torch.equal(one, other)
    assert before == after
    assert len({frozenset(groups(k_means(x, clusters, seed).cpu())) for seed in range(5)}) > 1


@pytest.mark.parametrize("clusters", [3, 4, 10, 60])
def test_copies_share_a_cluster_and_fewer_points_than_clusters_make_fewer(clusters: int, device: torch.device) -> None:
    points = torch.tensor([[0.0, 1.0], [5.0, 5.0], [9.0, -3.0]], dtype=torch.float64)
    of = torch.tensor([0, 1, 1, 2, 0, 0, 2, 1, 0])
    found = k_means(points[of].to(device), clusters, 0)
    assert groups(found.cpu()) == groups(of)
    assert set(found.tolist()) == {0, 1, 2}


def test_mini_batches_keep_copies_together_and_fit_the_data(device: torch.device) -> None:
    x = blobs(3, [1] * 200, 0.0)[0]
    found = k_means(torch.cat([x, x]).to(device), 60, 0).cpu()
    assert torch.equal(found[:200], found[200:])
    assert int(found.min()) >= 0
    assert 30 < len(found.unique()) <= 60
    assert int(found.max()) < 60
    within = sum(float((x[found[:200] == k] - x[found[:200] == k].mean(dim=0)).square().sum()) for k in found.unique())
    assert within < 0.2 * float((x - x.mean(dim=0)).square().sum())


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_one_cluster_holds_everything(rows: int, device: torch.device) -> None:
    x = torch.randn((rows, 3), generator=torch.Generator().manual_seed(0)).to(device)
    assert k_means(x, 1, 0).tolist() == [0] * rows
    same = torch.ones((rows, 3), device=device)
    assert k_means(same, 4, 0).tolist() == [0] * rows


# With labels


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("clusters", "classes", "labeled"), [(3, 3, 9), (5, 3, 14), (2, 4, 12), (4, 2, 2)])
def test_constrained_k_means_equals_loops(
    seed: int, clusters: int, classes: int, labeled: int, device: torch.device
) -> None:
    x, _ = blobs(seed, [12, 12, 12], 8.0, features=2)
    generator = torch.Generator().manual_seed(seed)
    items = torch.randperm(36, generator=generator)[:labeled]
    ys = torch.cat([torch.arange(classes), torch.randint(classes, (labeled,), generator=generator)])[:labeled]
    start = k_means(x.to(device), clusters, seed).tolist()
    found = constrained_k_means(x.to(device), clusters, items.to(device), ys.to(device), seed)
    assignment, centres, conflicts = lloyd(x.tolist(), start, items.tolist(), ys.tolist())
    assert found.assignment.tolist() == assignment
    assert found.conflicts == conflicts
    assert torch.allclose(found.centres.cpu(), torch.tensor(centres, dtype=torch.float64))
    if clusters >= classes:
        check_constraints(found, items.tolist(), ys.tolist())


def test_constrained_k_means_moves_a_labeled_item_by_its_class(device: torch.device) -> None:
    """On a line: 10 lies beside 11, but its class lies at 0 and 1."""
    x = torch.tensor([[0.0], [1.0], [10.0], [11.0]], device=device)
    labeled, labels = torch.arange(4, device=device), torch.tensor([0, 0, 0, 1], device=device)
    found = constrained_k_means(x, 2, labeled, labels, 0)
    assert groups(found.assignment.cpu()) == {frozenset({0, 1, 2}), frozenset({3})}
    assert found.conflicts == 1
    assert sorted(found.centres[:, 0].tolist()) == pytest.approx([11 / 3, 11])
    free = constrained_k_means(x, 2, labeled, torch.tensor([0, 0, 1, 1], device=device), 0)
    assert groups(free.assignment.cpu()) == {frozenset({0, 1}), frozenset({2, 3})}
    assert free.conflicts == 0


def test_labels_that_agree_with_the_groups_change_nothing(device: torch.device) -> None:
    x, of = blobs(4, [10, 8, 6], 0.05)
    labeled = torch.arange(0, 24, 2)
    labels = torch.tensor(of)[labeled]
    found = constrained_k_means(x.to(device), 3, labeled.to(device), labels.to(device), 0)
    assert groups(found.assignment.cpu()) == groups(torch.tensor(of))
    assert found.conflicts == 0


def test_without_labels_constrained_k_means_is_k_means(device: torch.device) -> None:
    x, of = blobs(5, [10, 8, 6], 0.05)
    nobody = torch.zeros(0, dtype=torch.long, device=device)
    found = constrained_k_means(x.to(device), 3, nobody, nobody, 0)
    assert groups(found.assignment.cpu()) == groups(torch.tensor(of))
    assert found.conflicts == 0


def test_copies_with_different_labels_are_parted(device: torch.device) -> None:
    """Two copies of one point, of two classes: one of them must leave its nearest centre."""
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [6.0, 0.0], [6.0, 1.0]], dtype=torch.float64, device=device)
    labeled, labels = torch.tensor([0, 1], device=device), torch.tensor([0, 1], device=device)
    found = constrained_k_means(x, 2, labeled, labels, 0)
    check_constraints(found, [0, 1], [0, 1])
    assert found.conflicts == 1


def test_classes_share_where_points_make_too_few_clusters(device: torch.device) -> None:
    """Two distinct points, three classes: the third, which is smallest, stays where it lies."""
    of = torch.tensor([0, 0, 0, 1, 1, 0])
    x = torch.tensor([[0.0], [4.0]], device=device)[of]
    labels = torch.tensor([2, 2, 2, 0, 0, 1])
    found = constrained_k_means(x, 3, torch.arange(6, device=device), labels.to(device), 0)
    assert groups(found.assignment.cpu()) == groups(of)
    assert found.conflicts == 0


def test_constrained_k_means_is_the_same_for_the_same_seed(device: torch.device) -> None:
    x = blobs(6, [40], 1.0)[0].to(device)
    labeled, labels = torch.arange(10, device=device), torch.arange(10, device=device) % 4
    one, other = (constrained_k_means(x, 4, labeled, labels, 3) for _ in range(2))
    assert torch.equal(one.assignment, other.assignment)
    assert torch.equal(one.centres, other.centres)
    assert one.conflicts == other.conflicts
