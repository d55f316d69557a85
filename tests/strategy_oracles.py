"""Strategies the slow way: refits, written-out gradients, plain loops. Float64 throughout."""

import math
from collections.abc import Callable

import torch
from torch import nn

from tests import oracles
from tests.factories import Problem

Tensor = torch.Tensor


def change(after: Tensor, before: Tensor, kind: str) -> float:
    """Sum of lengths of the change, or number of predictions that differ."""
    if kind == "flips":
        return float((after.argmax(dim=1) != before.argmax(dim=1)).sum())
    return float((after - before).norm(dim=1).sum())


def hypothetical(case: Problem, candidate: int, label: int, more: tuple[list[int], list[int]] = ([], [])) -> Tensor:
    """f of all items after this label (and some before it), refitted."""
    labels = [case.labels[k] for k in case.labeled]
    return oracles.refit(
        case.gram, case.outputs, case.ridge, [*case.labeled, *more[0], candidate], [*labels, *more[1], label]
    )


def now(case: Problem) -> Tensor:
    """f of all items."""
    return oracles.refit(case.gram, case.outputs, case.ridge, case.labeled, [case.labels[k] for k in case.labeled])


def expected_change(case: Problem, kind: str, *, network: bool, most_likely: bool) -> list[float]:
    """MLMOC or EMOC of every candidate by one refit per candidate and label."""
    before = case.outputs if network else now(case)
    scores = []
    for candidate in case.candidates:
        p = before[candidate].softmax(dim=0)
        if most_likely:
            p = torch.zeros_like(p).index_fill_(0, before[candidate].argmax(), 1.0)
        scores.append(
            sum(
                float(p[y]) * change(hypothetical(case, candidate, y)[case.candidates], before[case.candidates], kind)
                for y in range(len(p))
                if p[y] > 0
            )
        )
    return scores


def expected_error_reduction(case: Problem, *, network: bool = False, temperature: float = 1.0) -> list[float]:
    """Minus the expected entropy over the candidates, one refit per candidate and label."""
    before = case.outputs if network else now(case)
    scores = []
    for candidate in case.candidates:
        p = (before[candidate] / temperature).softmax(dim=0)
        total = 0.0
        for y in range(len(p)):
            after = hypothetical(case, candidate, y)[case.candidates] / temperature
            total += float(p[y]) * sum(oracles.entropy(row) for row in after.tolist())
        scores.append(-total)
    return scores


def loss_gradients(module: nn.Module, x: Tensor, labels: Tensor, outputs: Tensor | None = None) -> Tensor:
    """∇ of the cross-entropy at each (x, y), one backward pass each, (N, P).

    With `outputs` the loss is taken at those instead of the network's own.
    """
    module = module.eval().requires_grad_(True)
    rows = []
    for k in range(len(x)):
        own = module(x[k : k + 1])[0]
        at = own.detach() if outputs is None else outputs[k]
        weights = at.softmax(dim=0)
        weights = weights - nn.functional.one_hot(labels[k], len(weights)).to(weights)
        found = torch.autograd.grad((own * weights).sum(), list(module.parameters()))
        rows.append(torch.cat([part.flatten() for part in found]))
    return torch.stack(rows).detach()


def k_centre(features: Tensor, centres: Tensor, count: int) -> list[int]:
    """Greedy k-centre with all distances written out."""
    chosen: list[int] = []
    for _ in range(count):
        held = torch.cat([centres, features[chosen]])
        distances = [
            -1.0 if k in chosen else min(float((features[k] - c).norm()) for c in held) for k in range(len(features))
        ]
        chosen.append(max(range(len(features)), key=lambda k: (distances[k], -k)))
    return chosen


def mutual_information(samples: list[Tensor]) -> list[float]:
    """BALD by plain sums."""
    found = []
    for k in range(len(samples[0])):
        rows = [sample[k].softmax(dim=0).tolist() for sample in samples]
        mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]

        def entropy(p: list[float]) -> float:
            return -sum(v * math.log(v) for v in p if v > 0)

        found.append(entropy(mean) - sum(entropy(row) for row in rows) / len(rows))
    return found


def coverage_errors(
    gram: Tensor, assignment: Tensor, labeled: list[int], candidates: list[int], ridge: float
) -> list[float]:
    """NTKCPL's 0-1 loss after each candidate, by refitting on cluster one-hots."""
    clusters = int(assignment.max()) + 1
    zero = torch.zeros((len(gram), clusters), dtype=gram.dtype)
    errors = []
    for candidate in candidates:
        chosen = [*labeled, candidate]
        after = oracles.refit(gram, zero, ridge, chosen, assignment[chosen].tolist())
        errors.append(float((after.argmax(dim=1) != assignment).double().mean()))
    return errors


def greedy(scores: Callable[[list[int], list[int]], list[float]], candidates: list[int], count: int) -> list[int]:
    """Pick the best, tell the scorer, pick again."""
    picks: list[int] = []
    left = list(candidates)
    for _ in range(count):
        values = scores(picks, left)
        best = left[max(range(len(left)), key=lambda k: (values[k], -left[k]))]
        picks.append(best)
        left.remove(best)
    return picks
