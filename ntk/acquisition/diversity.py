"""Picks that cover the pool: coreset, BADGE, TypiClust.

Sources: [Coreset] Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR
2018, algorithm 1; [BADGE] Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR
2020; its partitioned form: Citovsky et al., "Batch Active Learning at Scale", NeurIPS 2021, and Kirsch et al.;
[TypiClust] Hacohen, Dekel and Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets",
ICML 2022.
"""

import math

import torch

from ntk.clusters import k_means
from ntk.distances import nearest_squared, squared_distances, squares_less_products
from ntk.kernel import Tick, nothing
from ntk.selection import Allowed

Tensor = torch.Tensor
Picks = tuple[Tensor, Tensor]

CLUSTERS_MAX = 500
NEIGHBOURS_MAX = 20


class FarthestFirst:
    """How far each candidate is from everything labeled or picked, kept current from pick to pick."""

    def __init__(self, features: Tensor, centres: Tensor) -> None:
        """`features` (m, D) of candidates, `centres` (n, D) of labeled items."""
        self._features = features
        self._nearest = nearest_squared(features, centres)
        self._alone = len(centres) == 0

    def scores(self) -> Tensor:
        """(m,) squared distance to the nearest; without any, minus that to the mean of the candidates."""
        if self._alone:
            return -(self._features - self._features.mean(dim=0)).square().sum(dim=1)
        return self._nearest

    def add(self, pick: int) -> None:
        """Candidate `pick` is taken."""
        own = squared_distances(self._features, self._features[pick : pick + 1])[:, 0]
        self._nearest = torch.minimum(self._nearest, own)
        self._alone = False


def coreset(features: Tensor, centres: Tensor, allowed: Allowed, count: int, on_pick: Tick = nothing) -> Picks:
    """Greedy k-centre: the candidate farthest from all labeled and picked items, again and again.

    `features` (m, D) of candidates, `centres` (n, D) of labeled items; scores are the distances. Without centres the
    first pick is the candidate nearest to the mean, and its score is infinite in theory: its distance to the mean is
    given.
    """
    farthest = FarthestFirst(features, centres)
    chosen: list[int] = []
    scores: list[float] = []
    while len(chosen) < count and allowed.any():
        values = farthest.scores()
        pick = allowed.best(values)
        scores.append(float(values[pick].abs().sqrt()))
        chosen.append(pick)
        allowed.take(pick)
        farthest.add(pick)
        on_pick()
    return _picks(chosen, scores, features)


class GradientEmbedding:
    """(p − e_ŷ) ⊗ h of each candidate without writing it out: m × C·D numbers are never held."""

    def __init__(self, residuals: Tensor, features: Tensor) -> None:
        """`residuals` (m, C) p − e_ŷ, `features` (m, D) inputs of the last layer."""
        self._residuals = residuals
        self._features = features
        self.squares = residuals.square().sum(dim=1) * features.square().sum(dim=1)

    def squared_distances(self, index: int) -> Tensor:
        """‖g − g_index‖², (m,); 0 for items that are alike."""
        inner = (self._residuals @ self._residuals[index]) * (self._features @ self._features[index])
        return squares_less_products(self.squares + self.squares[index], inner)


def badge(
    embedding: GradientEmbedding,
    allowed: Allowed,
    count: int,
    generator: torch.Generator,
    partitions: int = 1,
    on_pick: Tick = nothing,
) -> Picks:
    """k-means++ on gradient embeddings: the longest first, then with chances ∝ squared distance to the picks.

    With `partitions` the candidates are dealt out at random and each part picks its share by itself; where rules leave
    a part short, the rest is picked from all. Scores are the distance to the nearest pick before (the length, for a
    part's first). An item is never picked twice: when all that is left coincides with a pick, items come in the order
    of their keys.
    """
    found = allowed.indices()
    dealt = found[torch.randperm(len(found), generator=generator).to(found.device)]
    parts = [part for part in torch.tensor_split(dealt, max(1, min(partitions, count, len(dealt)))) if len(part)]
    picks: list[tuple[int, float]] = []
    for k, part in enumerate(parts):
        # Rounded up, as the larger parts come first: no part is asked for more than it has.
        share = math.ceil((count - len(picks)) / (len(parts) - k))
        mask = torch.zeros_like(allowed.mask)
        mask[part] = True
        picks += _plus_plus(embedding, allowed, mask, share, generator, [], on_pick)
    if len(picks) < count:
        beside = [index for index, _ in picks]
        picks += _plus_plus(embedding, allowed, allowed.mask, count - len(picks), generator, beside, on_pick)
    return _picks([index for index, _ in picks], [score for _, score in picks], embedding.squares)


def _plus_plus(
    embedding: GradientEmbedding,
    allowed: Allowed,
    part: Tensor,  # (m,) bool
    count: int,
    generator: torch.Generator,
    beside: list[int],
    on_pick: Tick,
) -> list[tuple[int, float]]:
    """Picks of one part, away from those `beside` it, with their scores."""
    nearest: Tensor | None = None
    for index in beside:
        nearest = _nearer(nearest, embedding.squared_distances(index))
    picks: list[tuple[int, float]] = []
    while len(picks) < count:
        mine = allowed.only(part)
        if not mine.any():
            break
        pick = mine.best(embedding.squares) if nearest is None else _drawn(nearest, mine, generator)
        score = embedding.squares[pick] if nearest is None else nearest[pick]
        picks.append((pick, float(score.sqrt())))
        allowed.take(pick)
        nearest = _nearer(nearest, embedding.squared_distances(pick))
        on_pick()
    return picks


def _nearer(nearest: Tensor | None, distances: Tensor) -> Tensor:
    return distances if nearest is None else torch.minimum(nearest, distances)


def _drawn(chances: Tensor, allowed: Allowed, generator: torch.Generator) -> int:
    """One index with probability proportional to its chance, the same for any order of the candidates."""
    found = allowed.indices()
    total = chances[found].double().cumsum(dim=0)
    at = torch.rand((), dtype=torch.float64, generator=generator).to(total.device) * total[-1]
    # The first whose cumulated chance lies past the draw; where all chances are nought, the first by key.
    place = int(torch.searchsorted(total, at, right=True)) if float(total[-1]) > 0 else 0
    return int(found[min(place, len(found) - 1)])


def typiclust(
    features: Tensor,  # (N, D) of labeled items and candidates
    is_labeled: Tensor,  # (N,) bool
    candidates: Tensor,  # (m,) rows of features
    allowed: Allowed,  # over the candidates
    count: int,
    seed: int,
    on_pick: Tick = nothing,
) -> Picks:
    """The most typical item of the clusters that have fewest labels, largest clusters first.

    k-means with min(n + count, 500) clusters; typicality is one over the mean distance to the min(20, size / 2)
    nearest items of the cluster. Clusters are visited again until `count` is reached.
    """
    labels_held = int(is_labeled.sum())
    clusters = min(labels_held + count, CLUSTERS_MAX)
    assignment = k_means(features, clusters, seed)
    found = int(assignment.max()) + 1
    inside = torch.bincount(assignment[is_labeled], minlength=found)
    sizes = torch.bincount(assignment, minlength=found)
    typicality = _typicality(features, assignment, found)[candidates]
    belongs = assignment[candidates]
    chosen: list[int] = []
    while len(chosen) < count and allowed.any():
        open_clusters = torch.bincount(belongs[allowed.mask], minlength=found) > 0
        first = min(open_clusters.nonzero()[:, 0].tolist(), key=lambda c: (int(inside[c]), -int(sizes[c])))
        pick = allowed.only(belongs == first).best(typicality)
        chosen.append(pick)
        inside[first] += 1
        allowed.take(pick)
        on_pick()
    return _picks(chosen, typicality[chosen].tolist(), features)


def _typicality(features: Tensor, assignment: Tensor, clusters: int) -> Tensor:
    """One over the mean distance to the nearest items of the same cluster, (N,); 0 for an item alone in its."""
    found = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for cluster in range(clusters):
        members = (assignment == cluster).nonzero()[:, 0]
        if len(members) < 2:
            continue
        neighbours = max(1, min(NEIGHBOURS_MAX, len(members) // 2))
        rows = features[members].double()
        for start in range(0, len(members), 1024):
            part = rows[start : start + 1024]
            distances = squared_distances(part, rows)
            distances[torch.arange(len(part)), start + torch.arange(len(part))] = torch.inf
            mean = distances.topk(neighbours, dim=1, largest=False).values.sqrt().mean(dim=1)
            # Copies of one item are as typical as can be, and the score stays a number.
            found[members[start : start + 1024]] = 1 / mean.clamp(min=1e-12)
    return found


def _picks(chosen: list[int], scores: list[float], like: Tensor) -> Picks:
    return (
        torch.tensor(chosen, dtype=torch.long, device=like.device),
        torch.tensor(scores, dtype=torch.float64, device=like.device),
    )
