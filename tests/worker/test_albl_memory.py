"""What albl remembers: proposals until their labels arrive, each label once, and never without bound."""

import copy
import math

import pytest
import torch

from ntk.selection import Allowed
from tests.worker.test_albl import COUNT, OPTIONS, Pool
from worker.strategies import bandit
from worker.strategies.request import Picks, Request


def test_the_same_seed_and_memory_give_the_same_and_leave_the_memory_alone() -> None:
    pool = Pool(5)
    for item in pool.items(pool.ask(6))[:4]:
        pool.label(item)
    before = copy.deepcopy(pool.memory)
    window = pool.window()

    def again(seed: int) -> Picks:
        allowed = Allowed(torch.ones(len(pool.candidates), dtype=torch.bool), window.keys)
        return bandit.albl(window, Request(12, OPTIONS, allowed, seed, memory=pool.memory))

    one, other = again(1), again(1)
    assert one.indices.tolist() == other.indices.tolist()
    assert one.memory == other.memory
    assert pool.memory == before
    assert len({tuple(again(seed).indices.tolist()) for seed in range(6)}) > 1


def test_a_label_teaches_once_and_only_where_it_was_proposed() -> None:
    pool = Pool(7)
    first = pool.items(pool.ask(4))
    stranger = next(item for item in pool.candidates if item not in first)
    pool.label(stranger)
    assert pool.ask(1, seed=9).diagnostics["weights"] == {"coreset": 1.0, "least_confidence": 1.0}
    pool.label(first[0])
    taught = pool.ask(1, seed=9).diagnostics
    assert taught["labels_learned_from"] == 1
    assert taught["weights"] != {"coreset": 1.0, "least_confidence": 1.0}
    again = pool.ask(1, seed=9).diagnostics
    assert again == taught
    assert first[0] not in pool.waiting()
    assert first[1] in pool.waiting()


def test_a_withdrawn_label_counts_no_more_in_the_accuracy() -> None:
    """With an identity kernel each label is judged by the network alone: the wrong one is taken back."""
    rewards = []
    for withdrawn in (False, True):
        pool = Pool(8, gram=torch.eye(COUNT, dtype=torch.float64), labeled=0)
        first, second = pool.items(pool.ask(2))
        pool.label(first, int(pool.outputs[first].argmin()))
        pool.ask(1, mask=[item != second for item in pool.candidates])
        if withdrawn:
            pool.candidates.append(first)
            del pool.labels[first]
        arms = pool.waiting()[second]["proposers"]
        pool.label(second)
        before = dict(pool.memory["weights"])  # type: ignore[index]
        after = pool.ask(1).diagnostics["weights"]
        rival = next(arm for arm in bandit.ARMS if arm not in arms) if len(arms) == 1 else None
        assert rival is not None, "choose another seed: both arms proposed the same item"
        rewards.append(math.log(after[arms[0]] / after[rival]) - math.log(before[arms[0]] / before[rival]))
    assert rewards[1] > rewards[0]


def test_what_waits_is_bounded_and_the_newest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandit, "_WAITING_MAX", 10)
    pool = Pool(11)
    order: list[int] = []
    for step in range(30):
        # Peeking again and again, each time at other items; some come back.
        mask = [(k + step) % 4 == 0 or k == step % 3 for k in range(len(pool.candidates))]
        found = pool.items(pool.ask(3, seed=step, mask=mask))
        order = [item for item in order if item not in found] + found
        assert list(pool.waiting()) == order[-10:]
    assert 10 < len(order) < 90


def test_a_thousand_wait_and_no_more() -> None:
    pool = Pool(12, items=1030, labeled=1, gram=torch.eye(1030, dtype=torch.float64))
    found = pool.items(pool.ask(1020))
    assert list(pool.waiting()) == found[-1000:]


def test_the_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandit, "_HISTORY_MAX", 5)
    pool = Pool(13)
    arrived: list[int] = []
    for step in range(4):
        picked = pool.items(pool.ask(3, seed=step))
        for item in picked:
            pool.label(item)
        arrived += picked
    pool.ask(1)
    assert pool.memory is not None
    assert [key for key, _ in pool.memory["history"]] == [int(pool.keys[item]) for item in arrived[-5:]]
    assert pool.memory["learned"] == 12
