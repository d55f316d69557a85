"""Slow and obviously right: what every fast path is compared with, in float64 and from first principles."""

import math

import torch
from torch import nn

Tensor = torch.Tensor


def gradient_features(module: nn.Module, x: Tensor) -> Tensor:
    """∇θ Σ_c f_c(x)/√C of each item, one backward pass each: (N, P)."""
    module = module.eval().requires_grad_(True)
    rows = []
    for item in x:
        answer = module(item[None])
        outputs = (
            answer["logits"] if isinstance(answer, dict) else answer[0] if isinstance(answer, tuple) else answer
        )[0]
        scalar = outputs.sum() / math.sqrt(len(outputs))
        gradients = torch.autograd.grad(scalar, list(module.parameters()), materialize_grads=True, allow_unused=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows).detach()


def gram(module: nn.Module, x: Tensor) -> Tensor:
    """The pseudo-NTK over x, (N, N)."""
    features = gradient_features(module, x)
    return features @ features.mT


def refit(K: Tensor, f0: Tensor, ridge: float, labeled: list[int], labels: list[int]) -> Tensor:
    """f of all N items after fitting these labels from scratch [LA eq. 11]."""
    if not labeled:
        return f0.clone()
    A = K[labeled][:, labeled] + ridge * torch.eye(len(labeled), dtype=K.dtype)
    Y = torch.eye(f0.shape[1], dtype=K.dtype)[labels]
    fitted: Tensor = f0 + K[:, labeled] @ torch.linalg.inv(A) @ (Y - f0[labeled])
    return fitted


def covariance(K: Tensor, ridge: float, labeled: list[int]) -> Tensor:
    """S of all N items, by a dense inverse."""
    if not labeled:
        return K.clone()
    A = K[labeled][:, labeled] + ridge * torch.eye(len(labeled), dtype=K.dtype)
    posterior: Tensor = K - K[:, labeled] @ torch.linalg.inv(A) @ K[labeled]
    return posterior


def mlmoc(
    K: Tensor,
    f0: Tensor,
    ridge: float,
    labeled: list[int],
    labels: list[int],
    candidates: list[int],
    *,
    network: bool = False,
) -> Tensor:
    """MLMOC of every candidate, each by refitting with its pseudo-label [LA eq. 13]."""
    now = refit(K, f0, ridge, labeled, labels)
    reference = f0 if network else now
    scores = []
    for candidate in candidates:
        pseudo = int(reference[candidate].argmax())
        then = refit(K, f0, ridge, [*labeled, candidate], [*labels, pseudo])
        scores.append((then - reference)[candidates].norm(dim=1).sum())
    return torch.stack(scores)


def greedy_mlmoc(
    K: Tensor,
    f0: Tensor,
    ridge: float,
    labeled: list[int],
    labels: list[int],
    candidates: list[int],
    count: int,
    *,
    network: bool = False,
) -> tuple[list[int], list[float]]:
    """Pick, label with the pseudo-label, refit, pick again: window indices and scores."""
    labeled, labels, candidates = list(labeled), list(labels), list(candidates)
    picks, scores = [], []
    for _ in range(count):
        values = mlmoc(K, f0, ridge, labeled, labels, candidates, network=network)
        best = candidates[int(values.argmax())]
        reference = f0 if network else refit(K, f0, ridge, labeled, labels)
        picks.append(best)
        scores.append(float(values.max()))
        labels.append(int(reference[best].argmax()))
        labeled.append(best)
        candidates.remove(best)
    return picks, scores


def leave_one_out(K: Tensor, f0: Tensor, ridge: float, labeled: list[int], labels: list[int]) -> Tensor:
    """Each labeled item's outputs when the model is fitted without it, (n, C)."""
    rows = []
    for k, item in enumerate(labeled):
        rest, rest_labels = labeled[:k] + labeled[k + 1 :], labels[:k] + labels[k + 1 :]
        rows.append(refit(K, f0, ridge, rest, rest_labels)[item])
    return torch.stack(rows)


def entropy(outputs: list[float]) -> float:
    """Entropy of the softmax, in nats."""
    total = sum(math.exp(o) for o in outputs)
    return -sum(math.exp(o) / total * math.log(math.exp(o) / total) for o in outputs)


def nearest_probabilities(outputs: list[float]) -> list[float]:
    """The projection on the simplex, its threshold found by bisection."""
    low, high = min(outputs) - 1, max(outputs)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(max(o - middle, 0) for o in outputs) > 1:
            low = middle
        else:
            high = middle
    return [max(o - low, 0) for o in outputs]


def margin(outputs: list[float]) -> float:
    """Minus the gap between the two largest."""
    best, second = sorted(outputs, reverse=True)[:2]
    return second - best


def least_confidence(outputs: list[float]) -> float:
    """One minus the largest softmax probability."""
    return 1 - math.exp(max(outputs)) / sum(math.exp(o) for o in outputs)


Event = tuple[int, str, int | None, str | None, bool]  # item, kind, class, annotator, own: a place in a list is its seq
Standing = tuple[int | None, bool]  # label, skipped


def opinions(log: list[Event], item: int) -> tuple[dict[str, tuple[int, int, int | None, bool]], int]:
    """({annotator: (seq, since, class, own)}, last withdrawal of more than an own skip) of one item."""
    held: dict[str, tuple[int, int, int | None, bool]] = {}
    withdrawn = 0
    for seq, (where, kind, label, who, own) in enumerate(log, start=1):
        if where != item:
            continue
        before = held.get(who or "")
        if kind == "withdraw" and who is None:
            held, withdrawn = {}, seq
        elif kind == "withdraw":
            held.pop(who or "", None)
            withdrawn = withdrawn if before is not None and before[3] else seq
        else:
            since = before[1] if before is not None and before[2:] == (label, own) else seq
            held[who or ""] = (seq, since, label, own)
    return held, withdrawn


def standing(log: list[Event], item: int, rule: str, needed: int = 1) -> Standing:
    """How one item stands, by reading the log from its start and counting votes by hand."""
    held, withdrawn = opinions(log, item)
    shared = [(seq, since, label) for seq, since, label, own in held.values() if not own]
    if rule == "latest":
        seq, _, label = max((said for said in shared if said[0] > withdrawn), default=(0, 0, None))
        return label, seq > 0 and label is None
    if any(label is None for _, _, label in shared):
        return None, True
    if not shared or len(shared) < needed:
        return None, False
    most = max(sum(other == label for *_, other in shared) for *_, label in shared)
    tied = {label for *_, label in shared if sum(other == label for *_, other in shared) == most}
    return min(tied, key=lambda label: max(since for _, since, other in shared if other == label)), False


def spectrum(gram: Tensor) -> list[float]:
    """Eigenvalues, descending, by a solver that does not know that the matrix is symmetric."""
    return sorted(torch.linalg.eigvals(gram.double()).real.tolist(), reverse=True)
