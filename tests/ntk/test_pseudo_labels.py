"""Pseudo-labels of NTKCPL: how many clusters, how they are split, and what they report, against loops."""

from collections import Counter

import pytest
import torch

from ntk.acquisition.ntkcpl import cluster_count, pseudo_labels
from ntk.clusters import constrained_k_means, k_means
from tests.ntk.test_ntkcpl import window

Tensor = torch.Tensor


@pytest.mark.parametrize(
    ("labels", "count", "classes", "most", "expected"),
    [
        (0, 20, 0, 100, 20),  # before the first label: the first batch
        (0, 200, 0, 100, 100),
        (0, 1, 0, 100, 2),
        (40, 5, 10, 100, 20),  # half of all labels
        (41, 5, 10, 100, 20),
        (400, 5, 10, 100, 100),
        (12, 5, 10, 100, 10),  # never fewer than the classes seen
        (400, 5, 10, 7, 10),
        (1, 5, 1, 100, 2),
        (3, 500, 2, 100, 2),  # the batch counts only at first
    ],
)
def test_cluster_count(labels: int, count: int, classes: int, most: int, expected: int) -> None:
    assert cluster_count(labels, count, classes, most) == expected


def nobody(device: torch.device) -> Tensor:
    return torch.zeros(0, dtype=torch.long, device=device)


def test_before_the_first_label_pseudo_labels_are_k_means(device: torch.device) -> None:
    x = window(0).x.to(device)
    predicted = torch.zeros(30, dtype=torch.long, device=device)
    found = pseudo_labels(x, nobody(device), nobody(device), predicted, 6, 3)
    assert torch.equal(found.assignment, k_means(x, 6, 3))
    assert (found.clusters, found.conflicts, found.impurity) == (6, 0, None)


def test_one_class_alone_constrains_nothing(device: torch.device) -> None:
    x = window(1).x.to(device)
    labeled, labels = torch.tensor([4, 9, 2], device=device), torch.tensor([1, 1, 1], device=device)
    found = pseudo_labels(x, labeled, labels, torch.ones(30, dtype=torch.long, device=device), 5, 3)
    assert torch.equal(found.assignment, k_means(x, 5, 3))
    assert (found.clusters, found.conflicts, found.impurity) == (5, 0, 0.0)


def confusion(members: list[int], held: dict[int, int], predicted: list[int]) -> int:
    """Members that the model takes for another class than most labeled ones (or, without any, most predicted)."""
    known = [held[k] for k in members if k in held] or [predicted[k] for k in members]
    counts = Counter(known)
    most = min(y for y in counts if counts[y] == max(counts.values()))
    return sum(predicted[k] != most for k in members)


def split(x: Tensor, start: list[int], held: dict[int, int], predicted: list[int], wanted: int, seed: int) -> list[int]:
    """Split the most confused cluster again and again; ties: the larger one, then the older one."""
    assignment = list(start)
    whole: set[int] = set()
    while max(assignment) + 1 < wanted:
        found = {c: [k for k, own in enumerate(assignment) if own == c] for c in set(assignment) - whole}
        if not found:
            break
        target = max(found, key=lambda c: (confusion(found[c], held, predicted), len(found[c]), -c))
        if len({tuple(x[k].tolist()) for k in found[target]}) == 1:
            whole.add(target)
            continue
        new = max(assignment) + 1
        for k, half in zip(found[target], k_means(x[found[target]], 2, seed).tolist(), strict=True):
            if half == 1:
                assignment[k] = new
    return assignment


def impurity(assignment: list[int], held: dict[int, int]) -> float:
    wrong = 0
    for cluster in set(assignment):
        counts = Counter(y for k, y in held.items() if assignment[k] == cluster)
        wrong += sum(counts.values()) - max(counts.values(), default=0)
    return wrong / len(held)


@pytest.mark.parametrize("duplicates", [0, 15])
@pytest.mark.parametrize("wanted", [3, 5, 9, 25])
@pytest.mark.parametrize("seed", range(3))
def test_pseudo_labels_equal_loops(seed: int, wanted: int, duplicates: int, device: torch.device) -> None:
    x = window(seed, duplicates=duplicates).x
    generator = torch.Generator().manual_seed(seed)
    labeled = torch.randperm(30, generator=generator)[:9]
    labels = torch.cat([torch.arange(3), torch.randint(3, (6,), generator=generator)])
    predicted = torch.randint(3, (30,), generator=generator)
    found = pseudo_labels(x.to(device), labeled.to(device), labels.to(device), predicted.to(device), wanted, seed)
    start = constrained_k_means(x, 3, labeled, labels, seed)
    held = dict(zip(labeled.tolist(), labels.tolist(), strict=True))
    expected = split(x, start.assignment.tolist(), held, predicted.tolist(), wanted, seed)
    assert found.assignment.tolist() == expected
    assert found.clusters == max(expected) + 1 == len(set(expected))
    assert found.conflicts == start.conflicts
    assert found.impurity == pytest.approx(impurity(expected, held))


def test_as_many_clusters_as_classes_are_not_split(device: torch.device) -> None:
    x = window(2).x.to(device)
    labeled, labels = torch.arange(8, device=device), torch.arange(8, device=device) % 4
    predicted = torch.zeros(30, dtype=torch.long, device=device)
    found = pseudo_labels(x, labeled, labels, predicted, 4, 0)
    assert torch.equal(found.assignment, constrained_k_means(x, 4, labeled, labels, 0).assignment)
    assert found.impurity == 0


def line(positions: list[float], device: torch.device) -> Tensor:
    return torch.tensor(positions, dtype=torch.float64, device=device)[:, None]


def test_the_confused_cluster_is_split_before_a_larger_one(device: torch.device) -> None:
    """Around 0: six of class 0. Around 50 and 60: class 1, though the model takes those at 60 for class 0."""
    x = line([0, 1, 2, 3, 4, 5, 50, 51, 60, 61], device)
    labeled, labels = torch.tensor([0, 6], device=device), torch.tensor([0, 1], device=device)
    predicted = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 0, 0], device=device)
    found = pseudo_labels(x, labeled, labels, predicted, 3, 0).assignment
    assert found[:6].unique().numel() == 1
    assert [int((found == found[k]).sum()) for k in (6, 8)] == [2, 2]
    calm = pseudo_labels(x, labeled, labels, torch.tensor([0] * 6 + [1] * 4, device=device), 3, 0).assignment
    assert calm[:6].unique().numel() == 2
    assert calm[6:].unique().numel() == 1


def test_a_point_with_all_its_copies_is_never_split(device: torch.device) -> None:
    x = line([0, 0, 0, 0, 7, 7, 9], device)
    labeled, labels = torch.tensor([0, 4], device=device), torch.tensor([0, 1], device=device)
    # The four copies confuse most.
    predicted = torch.tensor([1, 1, 1, 1, 1, 1, 1], device=device)
    found = pseudo_labels(x, labeled, labels, predicted, 6, 0)
    assert found.clusters == 3
    assert [len(set(found.assignment[part].tolist())) for part in (slice(0, 4), slice(4, 6), slice(6, 7))] == [1, 1, 1]


def test_conflicts_and_impurity_are_reported(device: torch.device) -> None:
    """On a line: 10 lies beside 11 but its class lies at 0 and 1."""
    x = line([0, 1, 10, 11], device)
    labeled, labels = torch.arange(4, device=device), torch.tensor([0, 0, 0, 1], device=device)
    found = pseudo_labels(x, labeled, labels, labels, 2, 0)
    assert (found.conflicts, found.impurity) == (1, 0.0)
    # Copies of one point cannot be parted: one cluster for three classes.
    crowded = pseudo_labels(
        line([3, 3, 3, 3], device), labeled, torch.tensor([0, 0, 1, 2], device=device), labels, 3, 0
    )
    assert (crowded.clusters, crowded.conflicts, crowded.impurity) == (1, 0, 0.5)


def test_pseudo_labels_are_the_same_for_the_same_seed(device: torch.device) -> None:
    x = window(3).x.to(device)
    labeled, labels = torch.arange(9, device=device), torch.arange(9, device=device) % 3
    one, other = (pseudo_labels(x, labeled, labels, labels.repeat(4)[:30], 8, 5) for _ in range(2))
    assert torch.equal(one.assignment, other.assignment)
