"""What may be picked, and in which order."""

import pytest
import torch

from ntk.errors import NonFiniteError
from ntk.selection import Allowed


def free(keys: list[int], **rules: object) -> Allowed:
    return Allowed(torch.ones(len(keys), dtype=torch.bool), torch.tensor(keys), **rules)  # type: ignore[arg-type]


def test_ties_go_to_the_smaller_key() -> None:
    values = torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0])
    assert free([0, 9, 4, 1, 7]).top(values, 4).tolist() == [2, 4, 1, 3]
    assert free(list(range(5))).top(values, 99).tolist() == [1, 2, 4, 3, 0]
    assert free([0, 9, 4, 1, 7]).best(values) == 2
    with pytest.raises(NonFiniteError):
        free([0, 1]).top(torch.tensor([1.0, torch.nan]), 1)
    with pytest.raises(NonFiniteError):
        free([0, 1]).best(torch.tensor([1.0, torch.nan]))


def test_a_score_of_minus_infinity_never_lets_a_barred_item_through() -> None:
    allowed = Allowed(torch.tensor([False, True, False]), torch.arange(3))
    assert allowed.best(torch.tensor([0.0, -torch.inf, 1.0])) == 1


def test_draws_follow_items_not_their_order() -> None:
    keys, order = torch.tensor([5, 2, 9, 1]), torch.tensor([2, 0, 3, 1])
    one = keys[free(keys.tolist()).draw(3, torch.Generator().manual_seed(4))]
    shuffled = keys[order]
    other = shuffled[free(shuffled.tolist()).draw(3, torch.Generator().manual_seed(4))]
    assert torch.equal(one, other)
    assert len(set(one.tolist())) == 3


def test_quotas_bind_single_picks_tops_and_draws_alike() -> None:
    classes = torch.tensor([0, 0, 0, 1, 1, 2])
    quota = torch.tensor([2, 1, 0])
    scores = torch.tensor([6.0, 5, 4, 3, 2, 1])
    assert free(list(range(6)), classes=classes, quota=quota).top(scores, 6).tolist() == [0, 1, 3]
    drawn = free(list(range(6)), classes=classes, quota=quota).draw(6, torch.Generator().manual_seed(0))
    assert torch.bincount(classes[drawn], minlength=3).tolist() == [2, 1, 0]
    allowed = free(list(range(6)), classes=classes, quota=quota)
    assert allowed.count() == 5
    allowed.take(3)
    assert allowed.indices().tolist() == [0, 1, 2]
    assert quota.tolist() == [2, 1, 0]


def test_near_items_go_with_a_pick() -> None:
    x = torch.tensor([0.0, 0.1, 1.0, 1.05, 3.0])
    allowed = free(list(range(5)), near=lambda index: (x - x[index]).abs() < 0.2)
    assert allowed.top(torch.arange(5.0), 5).tolist() == [4, 3, 1]
    assert not allowed.any()


def test_forks_are_tried_without_consequences() -> None:
    allowed = free(list(range(4)), classes=torch.tensor([0, 0, 1, 1]), quota=torch.tensor([1, 1]))
    allowed.fork().take(0)
    assert allowed.count() == 4
    assert allowed.only(torch.tensor([True, False, False, True])).indices().tolist() == [0, 3]
