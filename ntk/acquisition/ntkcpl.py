"""NTKCPL: the candidates whose labels would let a kernel model tell the pool's clusters apart best.

Source: [CPL] "NTKCPL: Active Learning on Top of Self-Supervised Model by Estimating True Coverage", algorithms 1 and 2.
Clusters of features stand in for the labels nobody has: the 0-1 loss of the updated kernel model against them, over the
whole window, estimates the error after labeling. All items carry cluster one-hots in the regression, labeled ones too.
"""

from dataclasses import dataclass

import torch

from ntk.acquisition.lookahead.model import row_tiles
from ntk.clusters import constrained_k_means, k_means
from ntk.errors import NonFiniteError
from ntk.kernel import Tick, nothing
from ntk.linalg import jittered_cholesky
from ntk.selection import Allowed

Tensor = torch.Tensor


def cluster_count(labels: int, count: int, classes: int, most: int) -> int:
    """How many clusters: half of all labels, at least the classes seen, at most `most` (but never fewer than classes).

    Before the first label: as many as the first batch has items [CPL 3.4].
    """
    if labels == 0:
        return max(2, min(count, most))
    return max(2, classes, min(labels // 2, most))


@dataclass(frozen=True)
class PseudoLabels:
    """A cluster for every item of the window, and how well clusters and labels agree."""

    assignment: Tensor  # (N,) in [0, clusters)
    clusters: int
    conflicts: int  # labeled items that constraints moved away from their nearest centre
    impurity: float | None  # share of labeled items whose class is not their cluster's most frequent one


def pseudo_labels(
    features: Tensor,  # (N, D)
    labeled: Tensor,  # (n,) window indices
    labels: Tensor,  # (n,) classes
    predicted: Tensor,  # (N,) classes by the current model
    clusters: int,
    seed: int,
) -> PseudoLabels:
    """Clusters by constrained k-means, split where the model is confused until there are enough [CPL alg. 2].

    Constrained k-means starts with one cluster per class seen. Then, again and again, the cluster with most confusing
    samples is split in two: items that the model takes for another class than most labeled ones of the cluster. Where
    nothing confuses, the largest cluster is split. Before the first label it is plain k-means.
    """
    seen = len(torch.unique(labels))
    if seen < 2:
        assignment = k_means(features, clusters, seed)
        return PseudoLabels(assignment, int(assignment.max()) + 1, 0, 0.0 if len(labels) else None)
    found = constrained_k_means(features, seen, labeled, labels, seed)
    assignment = found.assignment.clone()
    held = torch.full((len(features),), -1, dtype=torch.long, device=features.device)
    held[labeled] = labels
    splittable = torch.ones(clusters, dtype=torch.bool)
    count = int(assignment.max()) + 1
    while count < clusters and bool(splittable[:count].any()):
        target = _most_confused(assignment, held, predicted, count, splittable)
        members = (assignment == target).nonzero()[:, 0]
        halves = k_means(features[members], 2, seed)
        if int(halves.max()) == 0:
            splittable[target] = False  # one item, or copies of one
            continue
        assignment[members[halves == 1]] = count
        count += 1
    return PseudoLabels(assignment, count, found.conflicts, _impurity(assignment, labeled, labels, count))


def _most_confused(assignment: Tensor, held: Tensor, predicted: Tensor, clusters: int, splittable: Tensor) -> int:
    ranks = []
    for cluster in range(clusters):
        if not bool(splittable[cluster]):
            continue
        members = assignment == cluster
        known = held[members & (held >= 0)]
        own = known if len(known) else predicted[members]
        most = int(torch.mode(own).values)
        ranks.append((int((predicted[members] != most).sum()), int(members.sum()), -cluster))
    return -max(ranks)[2]


def _impurity(assignment: Tensor, labeled: Tensor, labels: Tensor, clusters: int) -> float:
    wrong = 0
    for cluster in range(clusters):
        own = labels[assignment[labeled] == cluster]
        if len(own):
            wrong += len(own) - int(torch.bincount(own).max())
    return wrong / len(labels)


@dataclass(frozen=True)
class Covered:
    """A batch, and the estimated error it leaves."""

    indices: Tensor  # (q,) into the candidates
    scores: Tensor  # (q,) minus the share of the window that the model would still get wrong
    outputs: Tensor  # (N, k) of the regression on clusters, before the batch


def ntkcpl(
    gram: Tensor,  # (N, N) kernel of the head
    assignment: Tensor,  # (N,)
    labeled: Tensor,  # (n,) window indices
    candidates: Tensor,  # (m,) window indices
    *,
    ridge: float,
    allowed: Allowed,
    count: int,
    on_tile: Tick = nothing,
    on_pick: Tick = nothing,
) -> Covered:
    """Greedy: each pick leaves the smallest 0-1 loss against the clusters over all N items [CPL alg. 1].

    The update by a candidate with its cluster's one-hot is rank one, so that a step costs O(N m k) for k clusters, in
    tiles. Raises NotPositiveDefiniteError, NonFiniteError.
    """
    targets = torch.nn.functional.one_hot(assignment).to(gram.dtype)
    outputs, covariance = _posterior(gram, targets, labeled, candidates, ridge)
    before = outputs.clone()
    chosen: list[int] = []
    scores: list[float] = []
    while len(chosen) < count and allowed.any():
        variance = covariance[candidates].diagonal() + ridge
        columns = allowed.indices()
        errors = torch.full((len(candidates),), torch.inf, dtype=torch.float64, device=gram.device)
        errors[columns] = _errors(
            covariance[:, columns] / variance[columns],
            outputs,
            (targets - outputs)[candidates[columns]],
            assignment,
            on_tile,
        )
        pick = allowed.best(-errors)
        chosen.append(pick)
        scores.append(-float(errors[pick]) / len(gram))
        allowed.take(pick)
        change, residual = covariance[:, pick].clone(), (targets - outputs)[candidates[pick]].clone()
        scaled = change / variance[pick]
        outputs += torch.outer(scaled, residual)
        covariance.addmm_(scaled[:, None], change[candidates][None], alpha=-1)
        on_pick()
    device = gram.device
    return Covered(
        torch.tensor(chosen, dtype=torch.long, device=device),
        torch.tensor(scores, dtype=torch.float64, device=device),
        before,
    )


def _posterior(
    gram: Tensor, targets: Tensor, labeled: Tensor, candidates: Tensor, ridge: float
) -> tuple[Tensor, Tensor]:
    """(f (N, k), S(:, candidates) (N, m)) of the regression on the labeled items' clusters."""
    if not bool(torch.isfinite(gram.sum())):
        # An argmax over NaN is a number like any other: nothing further down would notice.
        raise NonFiniteError("the kernel has entries that are not finite")
    if len(labeled) == 0:
        return torch.zeros_like(targets), gram[:, candidates]
    system = gram[labeled][:, labeled].double()
    system.diagonal().add_(ridge)
    factor, _ = jittered_cholesky(system)
    rows = gram[labeled].double()
    half = torch.linalg.solve_triangular(factor, rows, upper=False)  # (n, N)
    weights = torch.linalg.solve_triangular(factor, targets[labeled].double(), upper=False)
    outputs = (half.mT @ weights).to(gram.dtype)
    half = half.to(gram.dtype)
    covariance = gram[:, candidates]
    covariance.addmm_(half.mT, half[:, candidates], alpha=-1)
    return outputs, covariance


def _errors(
    effect: Tensor,  # (N, q) W(x, x')
    outputs: Tensor,  # (N, k)
    residuals: Tensor,  # (q, k) of the candidates' own clusters
    assignment: Tensor,  # (N,)
    on_tile: Tick,
) -> Tensor:
    """Number of items whose largest updated output is not their cluster's, (q,)."""
    total = torch.zeros(effect.shape[1], dtype=torch.float64, device=effect.device)
    for rows in row_tiles(len(effect), effect.shape[1] * outputs.shape[1]):
        updated = outputs[rows, None, :] + effect[rows, :, None] * residuals
        total += (updated.argmax(dim=2) != assignment[rows, None]).double().sum(dim=0)
        on_tile()
    return total


def disagreement(assignment: Tensor, labeled: Tensor, labels: Tensor, outputs: Tensor, predicted: Tensor) -> float:
    """Share of the window where the kernel model on clusters and the network disagree: the approximation's other half.

    A cluster speaks for the class most frequent among its labeled items; clusters without labels are left out.
    `outputs` (N, k) of the regression on clusters, `predicted` (N,) classes by the network. NaN without labels.
    """
    clusters = int(assignment.max()) + 1
    speaks = torch.full((clusters,), -1, dtype=torch.long, device=assignment.device)
    for cluster in torch.unique(assignment[labeled]).tolist():
        speaks[cluster] = torch.mode(labels[assignment[labeled] == cluster]).values
    said = speaks[outputs.argmax(dim=1)]
    known = said >= 0
    return float((said[known] != predicted[known]).double().mean())
