"""NTKCPL: the greedy choice against refitting the regression for every candidate, and its error terms."""

import math
from collections import Counter
from typing import Any

import pytest
import torch

from ntk.acquisition.ntkcpl import Covered, disagreement, ntkcpl
from ntk.errors import NonFiniteError, NotPositiveDefiniteError
from ntk.infinite import relu_ntk
from ntk.selection import Allowed
from tests import oracles, strategy_oracles

Tensor = torch.Tensor
RIDGE = 1e-2


def window(seed: int, items: int = 30, labeled: int = 8, clusters: int = 4, duplicates: int = 0) -> "Window":
    return Window(seed, items, labeled, clusters, duplicates)


class Window:
    """Items around a few centres, the kernel of a wide head over them, and a cluster for each."""

    def __init__(self, seed: int, items: int, labeled: int, clusters: int, duplicates: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn((clusters, 5), generator=generator, dtype=torch.float64)
        self.assignment = torch.arange(items) % clusters
        self.x = centres[self.assignment] + 0.7 * torch.randn((items, 5), generator=generator, dtype=torch.float64)
        if duplicates:
            self.x[-duplicates:] = self.x[:duplicates]
        self.gram = relu_ntk(self.x, self.x, 1)
        order = torch.randperm(items, generator=generator).tolist()
        self.labeled, self.candidates = order[:labeled], order[labeled:]

    def errors(self, more: list[int], left: list[int]) -> list[float]:
        """Share of wrong items after each of `left`, refitted with the labeled items and `more`."""
        return strategy_oracles.coverage_errors(self.gram, self.assignment, [*self.labeled, *more], left, RIDGE)

    def outputs(self) -> Tensor:
        zero = torch.zeros((len(self.x), int(self.assignment.max()) + 1), dtype=torch.float64)
        return oracles.refit(self.gram, zero, RIDGE, self.labeled, self.assignment[self.labeled].tolist())

    def search(self, count: int, device: torch.device, mask: Tensor | None = None, **changed: Any) -> Covered:
        candidates = torch.tensor(self.candidates, device=device)
        if mask is None:
            mask = torch.ones(len(candidates), dtype=torch.bool, device=device)
        arguments: dict[str, Any] = {"ridge": RIDGE, "allowed": Allowed(mask, candidates), "count": count}
        return ntkcpl(
            self.gram.to(device),
            self.assignment.to(device),
            torch.tensor(self.labeled, dtype=torch.long, device=device),
            candidates,
            **{**arguments, **changed},
        )

    def items(self, found: Covered) -> list[int]:
        return [self.candidates[k] for k in found.indices.tolist()]


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 0},
        {"seed": 1, "labeled": 1},
        {"seed": 2, "labeled": 0},
        {"seed": 3, "clusters": 2, "labeled": 3},
        {"seed": 4, "clusters": 9, "labeled": 4},
        {"seed": 5, "duplicates": 12},
        {"seed": 6, "labeled": 0, "clusters": 7, "duplicates": 8},
    ],
    ids=str,
)
def test_picks_equal_refitting_after_every_pick(arguments: dict[str, int], device: torch.device) -> None:
    case = window(**arguments)
    found = case.search(6, device)
    expected: list[int] = []
    left = list(case.candidates)
    for score in found.scores.tolist():
        errors = case.errors(expected, left)
        assert score == pytest.approx(-min(errors), abs=1e-12)
        # Ties go to the smaller key, which is the item here.
        expected.append(min(item for item, error in zip(left, errors, strict=True) if error == min(errors)))
        left.remove(expected[-1])
    assert case.items(found) == expected
    assert torch.allclose(found.outputs.cpu(), case.outputs(), atol=1e-9)
    assert len(set(errors)) > 1, "the last step had nothing to choose between"


def test_every_single_candidate_is_scored_as_by_a_refit(device: torch.device) -> None:
    case = window(7, labeled=5)
    scores = []
    for k in range(len(case.candidates)):
        mask = torch.zeros(len(case.candidates), dtype=torch.bool, device=device)
        mask[k] = True
        found = case.search(3, device, mask)
        assert found.indices.tolist() == [k]
        scores += found.scores.tolist()
    assert scores == pytest.approx([-error for error in case.errors([], case.candidates)])


def test_single_precision_scores_its_picks_as_a_refit_does(device: torch.device) -> None:
    case = window(8, items=40, labeled=6)
    exact = case.search(5, device)
    candidates = torch.tensor(case.candidates, device=device)
    found = ntkcpl(
        case.gram.to(device, torch.float32),
        case.assignment.to(device),
        torch.tensor(case.labeled, device=device),
        candidates,
        ridge=RIDGE,
        allowed=Allowed(torch.ones(len(candidates), dtype=torch.bool, device=device), candidates),
        count=5,
    )
    assert found.outputs.dtype == torch.float32
    assert found.scores.dtype == torch.float64
    assert found.scores.tolist() == pytest.approx(exact.scores.tolist(), abs=1.5 / 40)
    assert torch.allclose(found.outputs.double(), exact.outputs, atol=1e-3)


def test_tiles_do_not_change_the_choice_and_tick(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    case = window(9)
    whole = case.search(4, device)
    ticks: list[str] = []
    monkeypatch.setattr("ntk.acquisition.lookahead.model.TILE_ENTRIES", 7)
    tiled = case.search(4, device, on_tile=lambda: ticks.append("tile"), on_pick=lambda: ticks.append("pick"))
    assert tiled.indices.tolist() == whole.indices.tolist()
    assert tiled.scores.tolist() == whole.scores.tolist()
    assert ticks == (["tile"] * 30 + ["pick"]) * 4


def test_a_callback_that_raises_cancels(device: torch.device) -> None:
    def cancel() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        window(10).search(4, device, on_tile=cancel)
    with pytest.raises(KeyboardInterrupt):
        window(10).search(4, device, on_pick=cancel)


@pytest.mark.parametrize("labeled", [0, 8])
def test_picks_keep_to_the_allowed_never_repeat_and_change_nothing(labeled: int, device: torch.device) -> None:
    case = window(11, labeled=labeled, duplicates=10)
    mask = torch.ones(len(case.candidates), dtype=torch.bool, device=device)
    mask[::3] = False
    before = case.gram.clone()
    found = case.search(100, device, mask)
    assert sorted(found.indices.tolist()) == mask.nonzero()[:, 0].tolist()
    assert torch.equal(case.gram, before)


def test_nothing_allowed_gives_nothing(device: torch.device) -> None:
    case = window(12)
    found = case.search(3, device, torch.zeros(len(case.candidates), dtype=torch.bool, device=device))
    assert found.indices.shape == found.scores.shape == (0,)
    assert torch.allclose(found.outputs.cpu(), case.outputs(), atol=1e-9)


def test_picks_follow_items_not_their_order(device: torch.device) -> None:
    case, shuffled = window(13), window(13)
    shuffled.candidates, shuffled.labeled = case.candidates[::-1], case.labeled[::-1]
    assert case.items(case.search(6, device)) == shuffled.items(shuffled.search(6, device))


def test_an_item_of_an_unseen_cluster_is_worth_most(device: torch.device) -> None:
    """Three groups at right angles, two of them labeled: only an item of the third teaches anything."""
    case = window(14, items=12, labeled=0, clusters=3)
    case.x = 5 * torch.eye(3, dtype=torch.float64)[case.assignment] + 0.01 * case.x[:, :3]
    case.gram = relu_ntk(case.x, case.x, 1)
    case.labeled, case.candidates = [0, 1], list(range(2, 12))
    found = case.search(1, device)
    assert int(case.assignment[case.items(found)[0]]) == 2
    assert found.scores.tolist() == [0.0]


def test_kernels_without_numbers_are_refused(device: torch.device) -> None:
    for labeled in (3, 0):
        case = window(15, labeled=labeled)
        case.gram[case.candidates[0], case.candidates[1]] = math.nan
        with pytest.raises(NonFiniteError):
            case.search(1, device)
    case = window(15)
    case.gram = -case.gram
    with pytest.raises(NotPositiveDefiniteError):
        case.search(1, device)


# The terms of the approximation


def said_otherwise(
    assignment: list[int], held: dict[int, int], outputs: list[list[float]], predicted: list[int]
) -> float:
    """Share of items whose cluster (as the regression sees it) speaks for another class than the network's."""
    known, differs = 0, 0
    for row, network in zip(outputs, predicted, strict=True):
        cluster = row.index(max(row))
        counts = Counter(y for k, y in held.items() if assignment[k] == cluster)
        if counts:
            most = min(y for y in counts if counts[y] == max(counts.values()))
            known += 1
            differs += most != network
    return differs / known


@pytest.mark.parametrize("seed", range(6))
def test_disagreement_equals_loops(seed: int, device: torch.device) -> None:
    case = window(seed, clusters=6, labeled=5)
    generator = torch.Generator().manual_seed(seed)
    labels, predicted = (torch.randint(3, (size,), generator=generator) for size in (5, 30))
    outputs = torch.randn((30, 6), generator=generator, dtype=torch.float64)
    found = disagreement(
        *(part.to(device) for part in (case.assignment, torch.tensor(case.labeled), labels, outputs, predicted))
    )
    held = dict(zip(case.labeled, labels.tolist(), strict=True))
    expected = said_otherwise(case.assignment.tolist(), held, outputs.tolist(), predicted.tolist())
    assert found == pytest.approx(expected)
    assert 0 < found < 1


def test_disagreement_by_hand(device: torch.device) -> None:
    """Clusters 0 and 1 speak for classes 1 and 0; cluster 2 has no label. Of four heard items one is told otherwise."""
    assignment = torch.tensor([0, 0, 1, 1, 2, 2], device=device)
    outputs = torch.eye(3, dtype=torch.float64, device=device)[[0, 0, 1, 1, 2, 2]]
    labeled, labels = torch.tensor([0, 2], device=device), torch.tensor([1, 0], device=device)
    predicted = torch.tensor([1, 0, 0, 0, 1, 0], device=device)
    assert disagreement(assignment, labeled, labels, outputs, predicted) == 0.25


def test_disagreement_without_labels_is_no_number(device: torch.device) -> None:
    nobody = torch.zeros(0, dtype=torch.long, device=device)
    assignment = torch.tensor([0, 1, 1], device=device)
    outputs, predicted = torch.eye(3, device=device)[:, :2], torch.tensor([0, 1, 2], device=device)
    assert math.isnan(disagreement(assignment, nobody, nobody, outputs, predicted))
