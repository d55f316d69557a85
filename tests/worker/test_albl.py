"""albl on a window in memory: its picks and what it learns, against EXP4.P played out with loops."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from api_schemas.strategies import AlblOptions
from ntk.posterior import Posterior
from ntk.selection import Allowed
from store.tables import Json
from tests import factories, oracles, strategy_oracles
from worker.strategies import bandit
from worker.strategies.request import Picks, Request
from worker.strategies.window import Window

Tensor = torch.Tensor
COUNT = 60
OPTIONS: Json = AlblOptions().model_dump()


class Pool:
    """A window of random items with a random Gram matrix, the labels so far, and what albl remembers."""

    def __init__(self, seed: int, *, labeled: int = 6, gram: Tensor | None = None, items: int = COUNT) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn((items, 6), generator=generator, dtype=torch.float64)
        self.module = factories.mlp(6, [12, 5], 3, seed)
        self.outputs = self.module(self.x).detach()
        root = torch.randn((items, items), generator=generator, dtype=torch.float64)
        self.gram = root @ root.mT / items if gram is None else gram
        self.ridge = 0.05
        self.keys = torch.randperm(10 * items, generator=generator)[:items]
        order = torch.randperm(items, generator=generator).tolist()
        truth = torch.randint(3, (items,), generator=generator).tolist()
        self.labels = {item: truth[item] for item in order[:labeled]}
        self.candidates = order[labeled:]
        self.memory: Json | None = None

    def window(self) -> Window:
        posterior = Posterior(
            self.gram,
            self.outputs,
            self.ridge,
            labeled=torch.tensor(list(self.labels), dtype=torch.long),
            labels=torch.tensor(list(self.labels.values()), dtype=torch.long),
            candidates=torch.tensor(self.candidates),
        )
        return Window(
            posterior, self.outputs, lambda at: self.x[at], self.keys, lambda: self.module, dtype=torch.float64
        )

    def ask(self, count: int, seed: int = 0, mask: list[bool] | None = None, **options: Any) -> Picks:
        """Picks; the memory is kept as a database may keep it: as JSON, the names of its objects sorted."""
        window = self.window()
        allowed = Allowed(torch.tensor(mask or [True] * len(self.candidates)), window.keys)
        picks = bandit.albl(window, Request(count, {**OPTIONS, **options}, allowed, seed, memory=self.memory))
        self.memory = json.loads(json.dumps(picks.memory, sort_keys=True))
        assert self.memory == picks.memory
        return picks

    def items(self, picks: Picks) -> list[int]:
        return [self.candidates[k] for k in picks.indices.tolist()]

    def label(self, item: int, y: int | None = None) -> None:
        """Label; what the network predicts, unless told."""
        self.labels[item] = int(self.outputs[item].argmax()) if y is None else y
        self.candidates.remove(item)

    def waiting(self) -> dict[int, Json]:
        """What waits for a label, by item."""
        assert self.memory is not None
        by_key = {int(key): item for item, key in enumerate(self.keys)}
        return {by_key[proposal["item"]]: proposal for proposal in self.memory["waiting"]}


def hidden(pool: Pool) -> Tensor:
    """Inputs of the last layer."""
    return pool.module[:-1](pool.x).detach()  # type: ignore[index,no-any-return]


def first_of(pool: Pool, scores: dict[int, float]) -> int:
    """The item with the largest score, ties to the smaller key."""
    return max(scores, key=lambda item: (scores[item], -int(pool.keys[item])))


def proposals(pool: Pool, chosen: list[int], f: Tensor, h: Tensor) -> dict[str, int]:
    """Each arm's favourite among what is left."""
    left = [item for item in pool.candidates if item not in chosen]
    centres = [*pool.labels, *chosen]
    if centres:
        far = {item: min(float((h[item] - h[centre]).square().sum()) for centre in centres) for item in left}
    else:
        middle = h[pool.candidates].mean(dim=0)
        far = {item: -float((h[item] - middle).square().sum()) for item in left}
    unsure = {item: oracles.least_confidence(f[item].tolist()) for item in left}
    return {"coreset": first_of(pool, far), "least_confidence": first_of(pool, unsure)}


def outputs_now(pool: Pool) -> Tensor:
    return oracles.refit(pool.gram, pool.outputs, pool.ridge, list(pool.labels), list(pool.labels.values()))


@pytest.mark.parametrize("labeled", [0, 6])
@pytest.mark.parametrize("seed", range(3))
def test_picks_are_proposals_drawn_by_their_chances(seed: int, labeled: int) -> None:
    pool = Pool(seed, labeled=labeled)
    pool.memory = {"weights": {"coreset": 1.0, "least_confidence": 0.4}, "waiting": [], "history": [], "learned": 0}
    picks = pool.ask(12, seed)
    coreset = 0.9 / 1.4 + 0.05
    chances = {"coreset": coreset, "least_confidence": 1 - coreset}
    assert picks.diagnostics["probabilities"] == pytest.approx(chances)
    f, h, generator = outputs_now(pool), hidden(pool), torch.Generator().manual_seed(seed)
    chosen: list[int] = []
    followed = set()
    for score in picks.scores.tolist():
        of = proposals(pool, chosen, f, h)
        drawn = float(torch.rand((), dtype=torch.float64, generator=generator))
        arm = "coreset" if drawn < coreset else "least_confidence"
        chosen.append(of[arm])
        followed.add(arm)
        shares = {item: sum(chances[name] for name in of if of[name] == item) for item in of.values()}
        assert score == pytest.approx(shares[of[arm]])
        assert pool.waiting()[of[arm]] == {
            "item": int(pool.keys[of[arm]]),
            "chance": pytest.approx(shares[of[arm]]),
            "arms": {name: pytest.approx(shares[of[name]]) for name in of},
            "proposers": [name for name in of if of[name] == of[arm]],
        }
    assert pool.items(picks) == chosen
    assert followed == {"coreset", "least_confidence"}


def test_an_item_of_both_arms_has_the_chances_of_both_and_teaches_nothing() -> None:
    pool = Pool(14, gram=torch.eye(COUNT, dtype=torch.float64), labeled=0)
    pool.memory = {"weights": {"coreset": 1.0, "least_confidence": 0.3}, "waiting": [], "history": [], "learned": 0}
    picks = pool.ask(1, mask=[k == 7 for k in range(COUNT)])
    (item,) = pool.items(picks)
    assert picks.scores.tolist() == pytest.approx([1.0])
    assert pool.waiting()[item]["arms"] == pytest.approx(dict.fromkeys(bandit.ARMS, 1.0))
    assert pool.waiting()[item]["proposers"] == list(bandit.ARMS)
    pool.label(item)
    found = pool.ask(1).diagnostics
    assert found["labels_learned_from"] == 1
    assert found["weights"] == pytest.approx({"coreset": 1.0, "least_confidence": 0.3})


@pytest.mark.parametrize(("probabilities", "scale"), [("softmax", 1.0), ("calibrated", 0.02)])
def test_confidence_is_read_at_the_temperature(
    probabilities: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Softmax of f over the temperature; which temperature that is, is the window's business."""
    monkeypatch.setattr("worker.strategies.window.temperature", lambda outputs, labels: scale)
    pool = Pool(15)
    pool.memory = {"weights": {"coreset": 1e-12, "least_confidence": 1.0}, "waiting": [], "history": [], "learned": 0}
    f = outputs_now(pool) / scale
    picks = pool.ask(8, exploration=1e-9, probabilities=probabilities)
    expected: list[int] = []
    for _ in range(8):
        expected.append(proposals(pool, expected, f, hidden(pool))["least_confidence"])
    assert pool.items(picks) == expected


def test_every_pick_is_told() -> None:
    pool = Pool(16)
    told: list[int] = []
    window = pool.window()
    allowed = Allowed(torch.ones(len(pool.candidates), dtype=torch.bool), window.keys)
    bandit.albl(window, Request(5, OPTIONS, allowed, 0, on_pick=lambda: told.append(allowed.count())))
    assert told == [len(pool.candidates) - k for k in range(1, 6)]


def test_the_coreset_arm_alone_is_greedy_k_centre() -> None:
    pool = Pool(3)
    pool.memory = {"weights": {"coreset": 1.0, "least_confidence": 1e-12}, "waiting": [], "history": [], "learned": 0}
    picks = pool.ask(8, exploration=1e-9)
    h = hidden(pool)
    expected = strategy_oracles.k_centre(h[pool.candidates], h[list(pool.labels)], 8)
    assert picks.indices.tolist() == expected


@pytest.mark.parametrize("count", [1, 20, 500])
def test_nothing_is_picked_twice_or_beyond_the_allowed(count: int) -> None:
    pool = Pool(4)
    mask = [k % 3 > 0 for k in range(len(pool.candidates))]
    found = pool.ask(count, mask=mask).indices.tolist()
    assert len(set(found)) == len(found) == min(count, sum(mask))
    assert all(mask[k] for k in found)
    assert len(pool.waiting()) == len(found)


def test_picks_follow_items_not_their_order() -> None:
    one, other = Pool(6), Pool(6)
    other.candidates.reverse()
    assert one.items(one.ask(10)) == other.items(other.ask(10))
    assert one.memory == other.memory


class Learner:
    """EXP4.P in loops, told what was proposed and which labels arrived."""

    def __init__(self, floor: float, delta: float, horizon: int) -> None:
        self.weights = {"coreset": 1.0, "least_confidence": 1.0}
        self.history: list[tuple[int, float]] = []
        self.floor, self.bonus = floor, math.sqrt(math.log(2 / delta) / (2 * horizon))

    def arrived(self, pool: Pool, item: int, proposal: Json) -> None:
        labeled, labels = list(pool.labels), list(pool.labels.values())
        alone = oracles.leave_one_out(pool.gram, pool.outputs, pool.ridge, labeled, labels)
        right = {own: int(alone[k].argmax()) == labels[k] for k, own in enumerate(labeled)}
        self.history.append((item, proposal["chance"]))
        total = sum(1 / chance for _, chance in self.history)
        gained = sum(1 / chance for own, chance in self.history if right[own]) / total
        for arm in self.weights:
            y = gained / proposal["chance"] if arm in proposal["proposers"] else 0
            self.weights[arm] *= math.exp(self.floor / 2 * (y + self.bonus / proposal["arms"][arm]))

    def shares(self) -> dict[str, float]:
        return {arm: weight / max(self.weights.values()) for arm, weight in self.weights.items()}


@pytest.mark.parametrize("options", [{}, {"exploration": 0.2, "delta": 0.3, "horizon": 7}], ids=["plain", "chosen"])
@pytest.mark.parametrize("seed", range(2))
def test_weights_equal_the_formula_over_many_rounds(seed: int, options: dict[str, Any]) -> None:
    """Batches of which some labels arrive, in any order; one label a round that nobody proposed."""
    pool = Pool(seed, labeled=2)
    learner = Learner(options.get("exploration", 0.05), options.get("delta", 0.1), int(options.get("horizon", 100)))
    generator = torch.Generator().manual_seed(seed)
    for step in range(4):
        picks = pool.ask(3, seed=step, **options)
        assert picks.diagnostics["weights"] == pytest.approx(learner.shares())
        assert picks.diagnostics["labels_learned_from"] == len(learner.history)
        waiting = pool.waiting()
        pool.label(next(item for item in pool.candidates if item not in waiting), 0)
        arriving = list(waiting)[::-1][:2]
        for item in arriving:
            pool.label(item, int(torch.randint(3, (), generator=generator)))
        for item in arriving:
            learner.arrived(pool, item, waiting[item])
    assert pool.ask(1).diagnostics["labels_learned_from"] == 8


@pytest.mark.parametrize("better", bandit.ARMS)
def test_the_arm_whose_labels_prove_right_is_followed_more(better: str) -> None:
    """An identity kernel, so that the network judges: labels arrive for one arm's proposals only, and are right."""
    pool = Pool(9, gram=torch.eye(COUNT, dtype=torch.float64), labeled=0)
    followed = []
    for step in range(30):
        picks = pool.ask(1, seed=step, horizon=100_000)
        followed.append(picks.diagnostics["probabilities"][better])
        (item,) = pool.items(picks)
        if pool.waiting()[item]["proposers"] == [better]:
            pool.label(item)
    assert followed[0] == 0.5
    assert all(other >= one for one, other in pairwise(followed))
    assert followed[-1] > 0.6
    assert len(pool.labels) > 10


def test_labels_that_prove_wrong_earn_nothing() -> None:
    pool = Pool(9, gram=torch.eye(COUNT, dtype=torch.float64), labeled=0)
    for item in pool.items(pool.ask(5)):
        pool.label(item, int(pool.outputs[item].argmin()))
    found = pool.ask(1).diagnostics
    assert found["labels_learned_from"] == 5
    assert found["weights"] == pytest.approx({"coreset": 1.0, "least_confidence": 1.0})


def test_exploration_is_the_least_probability() -> None:
    pool = Pool(10)
    pool.memory = {"weights": {"coreset": 1e-300, "least_confidence": 1.0}, "waiting": [], "history": [], "learned": 0}
    for exploration, least in ((None, 0.05), (0.01, 0.01), (0.5, 0.5)):
        found = pool.ask(1, exploration=exploration).diagnostics["probabilities"]
        assert found == pytest.approx({"coreset": least, "least_confidence": 1 - least})
