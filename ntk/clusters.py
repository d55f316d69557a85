"""Clusters of features: k-means, and k-means with must-link and cannot-link constraints from labels.

Sources: scikit-learn's k-means; the constraints are those of [CPL] "NTKCPL: Active Learning on Top of Self-Supervised
Model by Estimating True Coverage", section 3.4.
"""

from dataclasses import dataclass

import torch

from ntk.distances import squared_distances

Tensor = torch.Tensor

# Beyond this many clusters mini-batches are used, as [TypiClust] does.
_FULL_UP_TO = 50
_ROUNDS = 30


def k_means(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Cluster of each row of (N, D), (N,) in [0, clusters). Fewer come back where rows repeat."""
    # Loading it takes as long as half of torch: a worker that starts again should not wait for it.
    from sklearn.cluster import KMeans, MiniBatchKMeans

    rows = features.double().cpu().numpy()
    clusters = min(clusters, len(torch.unique(features, dim=0)))
    if clusters <= 1:
        return torch.zeros(len(features), dtype=torch.long, device=features.device)
    if clusters <= _FULL_UP_TO:
        model = KMeans(n_clusters=clusters, n_init=1, random_state=seed)
    else:
        model = MiniBatchKMeans(n_clusters=clusters, n_init=1, batch_size=5000, random_state=seed)
    return torch.from_numpy(model.fit_predict(rows)).long().to(features.device)


@dataclass(frozen=True)
class Constrained:
    """Clusters that respect labels as far as they can."""

    assignment: Tensor  # (N,)
    centres: Tensor  # (k, D)
    conflicts: int  # labeled items whose own nearest centre was not the one their class went to


def constrained_k_means(
    features: Tensor,  # (N, D)
    clusters: int,
    labeled: Tensor,  # (n,) rows
    labels: Tensor,  # (n,) classes
    seed: int,
) -> Constrained:
    """Lloyd's iterations in which labeled items of one class share a cluster and those of two classes do not.

    A class goes to the cluster whose centre is nearest to its items in sum, classes with more items first; a class
    that finds no free cluster is left to nearest centres. With fewer clusters than classes some must share.
    """
    features = features.double()
    assignment = k_means(features, clusters, seed)
    clusters = int(assignment.max()) + 1
    centres = _centres(features, assignment, clusters, torch.zeros((clusters, features.shape[1])).to(features))
    conflicts = 0
    for _ in range(_ROUNDS):
        distances = squared_distances(features, centres)
        nearest = distances.argmin(dim=1)
        placed = _placed(distances, nearest, labeled, labels)
        conflicts = int((placed[labeled] != nearest[labeled]).sum())
        moved = not torch.equal(placed, assignment)
        assignment = placed
        centres = _centres(features, assignment, clusters, centres)
        if not moved:
            break
    return Constrained(assignment, centres, conflicts)


def _placed(distances: Tensor, nearest: Tensor, labeled: Tensor, labels: Tensor) -> Tensor:
    placed = nearest.clone()
    free = torch.ones(distances.shape[1], dtype=torch.bool, device=distances.device)
    classes, sizes = torch.unique(labels, return_counts=True)
    for index in torch.argsort(sizes, descending=True, stable=True).tolist():
        members = labeled[labels == classes[index]]
        if not bool(free.any()):
            continue
        total = distances[members].sum(dim=0)
        cluster = int(torch.where(free, total, torch.inf).argmin())
        placed[members] = cluster
        free[cluster] = False
    return placed


def _centres(features: Tensor, assignment: Tensor, clusters: int, before: Tensor) -> Tensor:
    """Means of the clusters, (k, D); an empty one keeps its centre."""
    sums = torch.zeros((clusters, features.shape[1]), dtype=features.dtype, device=features.device)
    sums.index_add_(0, assignment, features)
    sizes = torch.bincount(assignment, minlength=clusters).to(features)
    means = sums / sizes.clamp(min=1)[:, None]
    return torch.where((sizes > 0)[:, None], means, before)
