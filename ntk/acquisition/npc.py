"""NPC: the batch that leaves the kernel over labeled items and batch best conditioned.

Source: [NPC] "A Neural Pre-Conditioning Active Learning Algorithm to Reduce Label Complexity", NeurIPS 2022,
algorithm 1: of random subsets q the one with the largest λ_min(K(L ∪ q)). Greedy and swap searches are not in it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple, Protocol

import torch

from ntk.acquisition.bordered import Blocks, Bordered, LogDeterminant
from ntk.kernel import Tick, nothing

Tensor = torch.Tensor
Search = Literal["random", "greedy", "swap"]
# Begins a subset: gives the function index -> (m,) bool that takes a pick and says what may still be picked.
Rules = Callable[[], Callable[[int], Tensor]]

SWAP_ROUNDS = 10
_EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Found:
    """The batch, and what is known of it."""

    indices: Tensor  # (Q,) candidates; by greedy search in the order of the picks
    value: float  # λ_min(K(L ∪ q)); by fallback the log-determinant; NaN where nothing is allowed
    labeled_value: float | None  # λ_min(K_LL); None where nothing is labeled
    rank: int  # numerical rank of K(L ∪ q)
    fallback: bool  # whether λ_min was zero to rounding, so that the log-determinant ranked
    subsets: int  # that were compared


class Picked(NamedTuple):
    """What a search gives."""

    indices: Tensor  # (Q,)
    value: float
    subsets: int


class Criterion(Protocol):
    """What is maximised over subsets: Bordered (λ_min) or LogDeterminant."""

    def best_subset(self, subsets: Tensor) -> tuple[int, float]:
        """(row, value) of the best of (s, Q); the earlier of rows that tie."""

    def extended(self, indices: Tensor) -> "Criterion":
        """With candidates (a,) among the labeled items; values are then those of what comes on top."""


def npc(
    labeled_gram: Tensor,  # (n, n)
    cross: Tensor,  # (n, m)
    candidate_gram: Tensor | Blocks,  # (m, m)
    *,
    ridge: float,
    count: int,
    num_subsets: int,
    search: Search,
    generator: torch.Generator,
    allowed: Tensor,  # (m,) bool
    order: Tensor,  # (m,) long, distinct
    rules: Rules | None = None,
    on_tile: Tick = nothing,
) -> Found:
    """The `count` allowed candidates q with the largest λ_min(K(L ∪ q)) that the search meets; all, where fewer.

    By interlacing no subset exceeds λ_min(K_LL), and beyond the kernel's rank λ_min is zero. Where λ_min of the
    labeled items or of the best subset is zero to rounding, all subsets tie: they are then ranked by the
    log-determinant of K_qq + ridge·I − K_qL (K_LL + ridge·I)⁻¹ K_Lq instead, and `fallback` says so. `ridge` is in the
    kernel's units. `swap` starts from the greedy batch. `order` breaks ties and names candidates for random draws:
    results follow items, not the order they are kept in.

    Raises ValueError for a count, number of subsets, ridge or shape that cannot be, NonFiniteError for a kernel that
    is not finite, NotPositiveDefiniteError where the fallback's ridge is below rounding.
    """
    if count < 1 or num_subsets < 1 or not 0 < ridge < math.inf:
        raise ValueError(
            f"count {count} and num_subsets {num_subsets} have to be at least 1, and the ridge {ridge} above 0"
        )
    bordered = Bordered(labeled_gram, cross, candidate_gram, on_tile)
    if allowed.shape != (bordered.size,) or order.shape != (bordered.size,):
        raise ValueError(f"allowed and order have to be ({bordered.size},): one entry for each candidate")
    drawn = generator.get_state()

    def searched(criterion: Criterion) -> Picked:
        if search == "random":
            generator.set_state(drawn)
            return random_search(criterion, allowed, count, num_subsets, generator, order, rules)
        picked = greedy_search(criterion, allowed, count, order, rules)
        if search == "greedy" or len(picked.indices) == 0:
            return picked
        swapped = swap_search(criterion, picked.indices, allowed, order, SWAP_ROUNDS, rules)
        return swapped._replace(subsets=picked.subsets + swapped.subsets)

    labeled = bordered.eigenvalues
    if numerical_rank(labeled, len(labeled), bordered.eps) == len(labeled):
        picked = searched(bordered)
        spectrum = bordered.spectrum(picked.indices)
        rank = numerical_rank(spectrum, len(spectrum), bordered.eps)
        if rank == len(spectrum):
            return Found(picked.indices, picked.value, bordered.labeled_value, rank, False, picked.subsets)
    picked = searched(LogDeterminant(bordered, ridge))
    spectrum = bordered.spectrum(picked.indices)
    rank = numerical_rank(spectrum, len(spectrum), bordered.eps)
    return Found(picked.indices, picked.value, bordered.labeled_value, rank, True, picked.subsets)


def numerical_rank(eigenvalues: Tensor, size: int, eps: float = _EPS) -> int:
    """How many of the eigenvalues of a (size, size) kernel are more than rounding.

    The threshold is size · 2⁻⁵² · λ_max: what a symmetric eigensolver may err by, and about what products summed in
    float64 leave in a Gram matrix; numpy's matrix_rank has it too. Entries that were stored in a narrower type, with
    spacing `eps`, moved the eigenvalues by up to eps · ‖K‖_F, which is then the larger.
    """
    if len(eigenvalues) == 0:
        return 0
    floor = max(size * _EPS * float(eigenvalues.max().clamp(min=0)), eps * float(eigenvalues.norm()))
    return int((eigenvalues > floor).sum())


def random_search(
    criterion: Criterion,
    allowed: Tensor,  # (m,) bool
    count: int,
    num_subsets: int,
    generator: torch.Generator,
    order: Tensor,  # (m,) long
    rules: Rules | None = None,
) -> Picked:
    """The best of random subsets [NPC alg. 1], drawn uniformly among those of `count` allowed candidates.

    Where there are at most `num_subsets` subsets, all are tried. With `rules` a subset is what a random order of the
    candidates leaves of itself; those that end short of the longest are left out.
    """
    found = _ordered(allowed, order)
    if len(found) == 0:
        return Picked(found, math.nan, 0)
    if rules is None:
        subsets = found[_drawn(len(found), min(count, len(found)), num_subsets, generator).to(found.device)]
    else:
        subsets = _walked(found, allowed, count, num_subsets, generator, order, rules)
    index, value = criterion.best_subset(subsets)
    return Picked(subsets[index], value, len(subsets))


def greedy_search(
    criterion: Criterion,
    allowed: Tensor,  # (m,) bool
    count: int,
    order: Tensor,  # (m,) long
    rules: Rules | None = None,
) -> Picked:
    """Up to `count` picks, each the candidate that leaves the most; ties go to the smaller key. O(n²m) per pick."""
    take = rules() if rules is not None else None
    grown, mask, tried = criterion, allowed.clone(), 0
    picks = torch.empty(0, dtype=torch.long, device=allowed.device)
    while len(picks) < count and bool(mask.any()):
        if len(picks):
            grown = grown.extended(picks[-1:])
        found = _ordered(mask, order)
        index, _ = grown.best_subset(found[:, None])
        picks = torch.cat([picks, found[index : index + 1]])
        tried += len(found)
        mask = _left(mask, found[index], take)
    return Picked(picks, _value(criterion, picks), tried)


def swap_search(
    criterion: Criterion,
    start: Tensor,  # (Q,)
    allowed: Tensor,  # (m,) bool
    order: Tensor,  # (m,) long
    rounds: int,
    rules: Rules | None = None,
) -> Picked:
    """Replace one member after another by the best candidate beside the others, until a round changes nothing.

    Never worse than its start, which `rules` have to allow. O(Q n²m) per round.
    """
    picks, tried = start.clone(), 0
    for _ in range(rounds):
        changed = False
        for place in range(len(picks)):
            others = torch.cat([picks[:place], picks[place + 1 :]])
            mask, take = allowed.clone(), rules() if rules is not None else None
            for other in others:
                mask = _left(mask, other, take)
            mask[picks[place]] = False
            # The member itself comes first: it stays unless another is truly better.
            options = torch.cat([picks[place : place + 1], _ordered(mask, order)])
            grown = criterion.extended(others) if len(others) else criterion
            index, _ = grown.best_subset(options[:, None])
            tried += len(options) - 1
            changed |= index > 0
            picks[place] = options[index]
        if not changed:
            break
    return Picked(picks, _value(criterion, picks), tried)


def _value(criterion: Criterion, picks: Tensor) -> float:
    return criterion.best_subset(picks[None])[1] if len(picks) else math.nan


def _ordered(mask: Tensor, order: Tensor) -> Tensor:
    """Candidates of a mask by their keys: the same items whatever order they are kept in."""
    found = mask.nonzero()[:, 0]
    return found[torch.argsort(order[found])]


def _left(mask: Tensor, pick: Tensor, take: Callable[[int], Tensor] | None) -> Tensor:
    """(m,) what may be picked after a pick."""
    mask = mask.clone() if take is None else mask & take(int(pick))
    mask[pick] = False
    return mask


def _drawn(size: int, count: int, num_subsets: int, generator: torch.Generator) -> Tensor:
    """Subsets of range(size), ascending, (s, count): all where they are few enough, else uniform ones [Floyd]."""
    if math.comb(size, count) <= num_subsets:
        return torch.tensor(list(combinations(range(size), count)))
    subsets = torch.empty((num_subsets, count), dtype=torch.long)
    for place, last in enumerate(range(size - count, size)):
        draw = torch.randint(last + 1, (num_subsets,), generator=generator)
        taken = (subsets[:, :place] == draw[:, None]).any(dim=1)
        subsets[:, place] = torch.where(taken, last, draw)
    return subsets.sort(dim=1).values


def _walked(
    found: Tensor,
    allowed: Tensor,
    count: int,
    num_subsets: int,
    generator: torch.Generator,
    order: Tensor,
    rules: Rules,
) -> Tensor:
    """Subsets by walking random orders under the rules, (s, Q), each by its keys."""
    walks: list[list[int]] = []
    for _ in range(num_subsets):
        mask, take, picks = allowed, rules(), []
        for index in found[torch.randperm(len(found), generator=generator).to(found.device)].tolist():
            if bool(mask[index]):
                picks.append(index)
                if len(picks) == count:
                    break
                mask = mask & take(index)
        walks.append(picks)
    longest = max(map(len, walks))
    subsets = torch.tensor([walk for walk in walks if len(walk) == longest], device=found.device)
    return subsets.gather(1, torch.argsort(order[subsets], dim=1))
