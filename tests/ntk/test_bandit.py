"""EXP4.P against its formulas: chances, importance weights, updates, and what they do in the long run."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntk.acquisition.bandit import Outcome, Weights, advice, chances, reward, updated

ARMS = ["coreset", "least_confidence", "margin"]
POSITIVE = st.floats(min_value=1e-300, max_value=1e300)
FLOORS = st.floats(min_value=1e-6, max_value=1 / 3)


def expected_update(
    weights: Weights, outcome: Outcome, gained: float, floor: float, delta: float, horizon: int
) -> dict[str, float]:
    """w · exp(p_min/2 (ŷ + v̂ √(ln(K/δ) / (K T)))), then over the largest."""
    K = len(weights)
    grown = {}
    for arm in weights:
        y = gained / outcome.chance if arm in outcome.proposers else 0
        v = 1 / outcome.arm_chances[arm]
        grown[arm] = weights[arm] * math.exp(floor / 2 * (y + v * math.sqrt(math.log(K / delta) / (K * horizon))))
    return {arm: grown[arm] / max(grown.values()) for arm in grown}


def proposed(probabilities: dict[str, float], proposals: dict[str, int], item: int) -> Outcome:
    """What is remembered when `item` is asked for."""
    mixture = advice(probabilities, proposals)
    return Outcome(
        mixture[item],
        {arm: mixture[own] for arm, own in proposals.items()},
        [arm for arm, own in proposals.items() if own == item],
    )


# Chances


@given(st.lists(POSITIVE, min_size=1, max_size=3), FLOORS)
def test_chances_sum_to_one_and_respect_the_floor(values: list[float], floor: float) -> None:
    weights = dict(zip(ARMS, values, strict=False))
    found = chances(weights, floor)
    assert found.keys() == weights.keys()
    assert sum(found.values()) == pytest.approx(1)
    assert all(floor * (1 - 1e-12) <= chance <= 1 - (len(values) - 1) * floor + 1e-12 for chance in found.values())
    ranks = sorted(weights, key=lambda arm: weights[arm])
    assert all(found[one] <= found[other] for one, other in pairwise(ranks))


def test_chances_mix_shares_with_the_floor() -> None:
    found = chances({"coreset": 6.0, "least_confidence": 2.0}, 0.05)
    assert found == pytest.approx({"coreset": 0.9 * 0.75 + 0.05, "least_confidence": 0.9 * 0.25 + 0.05})
    assert chances({"coreset": 6.0, "least_confidence": 2.0}, 0.5) == pytest.approx(dict.fromkeys(ARMS[:2], 0.5))


def test_an_item_has_the_chances_of_all_who_propose_it() -> None:
    probabilities = {"coreset": 0.5, "least_confidence": 0.3, "margin": 0.2}
    found = advice(probabilities, {"coreset": 4, "least_confidence": 9, "margin": 4})
    assert found == pytest.approx({4: 0.7, 9: 0.3})


# Rewards


@pytest.mark.parametrize("proposals", [[4, 9, 2], [4, 9, 4], [7, 7, 7]], ids=str)
def test_importance_weights_are_unbiased(proposals: list[int]) -> None:
    """Over every item that may be drawn: an arm's log-weight grows, on average, by its own proposal's reward."""
    rewards = {4: 0.9, 9: 0.2, 2: 0.55, 7: 0.4}
    weights, floor, delta, horizon = {"coreset": 1.0, "least_confidence": 0.3, "margin": 0.01}, 0.05, 0.1, 50
    probabilities = chances(weights, floor)
    of = dict(zip(ARMS, proposals, strict=True))
    mixture = advice(probabilities, of)
    assert sum(mixture.values()) == pytest.approx(1)
    bonus = math.sqrt(math.log(3 / delta) / (3 * horizon))
    for one in ARMS:
        for other in ARMS:
            grown = 0.0
            for item, chance in mixture.items():
                outcome = proposed(probabilities, of, item)
                then = updated(weights, outcome, rewards[item], floor=floor, delta=delta, horizon=horizon)
                grown += chance * math.log((then[one] / weights[one]) / (then[other] / weights[other]))
            expected = rewards[of[one]] - rewards[of[other]] + bonus * (1 / mixture[of[one]] - 1 / mixture[of[other]])
            assert grown == pytest.approx(floor / 2 * expected, abs=1e-12)


def test_reward_is_the_weighted_share_of_hits() -> None:
    assert reward([True, False, True], [0.5, 0.25, 0.125]) == pytest.approx((2 + 8) / (2 + 4 + 8))
    assert reward([True, False, False, True], [0.3] * 4) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.booleans(), st.floats(min_value=1e-6, max_value=1)), min_size=1, max_size=30))
def test_reward_lies_between_none_and_all(labels: list[tuple[bool, float]]) -> None:
    found = reward([hit for hit, _ in labels], [chance for _, chance in labels])
    assert -1e-12 <= found <= 1 + 1e-12
    hits = {hit for hit, _ in labels}
    assert len(hits) == 2 or found == pytest.approx(float(hits.pop()))


def test_reward_undoes_the_sampling() -> None:
    """Items drawn exactly as often as their chances say: the reward is the plain accuracy over the items."""
    counts, hits = [1, 2, 3, 10, 4], [True, False, True, False, False]
    drawn = [k for k, count in enumerate(counts) for _ in range(count)]
    found = reward([hits[k] for k in drawn], [counts[k] / sum(counts) for k in drawn])
    assert found == pytest.approx(2 / 5)
    assert sum(hits[k] for k in drawn) / len(drawn) == 4 / 20


# Updates


@given(
    st.lists(st.floats(min_value=1e-3, max_value=1e3), min_size=2, max_size=3),
    st.data(),
    st.floats(min_value=0, max_value=1),
    FLOORS,
    st.floats(min_value=0.01, max_value=0.9),
    st.integers(min_value=1, max_value=1000),
)
def test_updates_follow_the_formula(
    values: list[float], data: st.DataObject, gained: float, floor: float, delta: float, horizon: int
) -> None:
    weights = dict(zip(ARMS, values, strict=False))
    of = {arm: data.draw(st.integers(0, 2)) for arm in weights}
    item = data.draw(st.sampled_from(sorted(of.values())))
    # Chances of a time when the weights were other ones.
    outcome = proposed(chances(dict.fromkeys(weights, 1.0), 0.05), of, item)
    before = dict(weights)
    found = updated(weights, outcome, gained, floor=floor, delta=delta, horizon=horizon)
    expected = expected_update(weights, outcome, gained, floor, delta, horizon)
    assert found == pytest.approx(expected, rel=1e-9)
    assert max(found.values()) == 1
    assert weights == before


def test_only_proposers_gain() -> None:
    weights = dict.fromkeys(ARMS[:2], 1.0)
    outcome = proposed({"coreset": 0.5, "least_confidence": 0.5}, {"coreset": 1, "least_confidence": 2}, 1)
    good = updated(weights, outcome, 0.8, floor=0.05, delta=0.1, horizon=100)
    assert good["coreset"] == 1
    assert good["least_confidence"] == pytest.approx(math.exp(-0.05 / 2 * 0.8 / 0.5))
    nothing = updated(weights, outcome, 0.0, floor=0.05, delta=0.1, horizon=100)
    assert nothing == pytest.approx(weights)
    together = proposed({"coreset": 0.5, "least_confidence": 0.5}, {"coreset": 1, "least_confidence": 1}, 1)
    assert updated(weights, together, 1.0, floor=0.05, delta=0.1, horizon=100) == pytest.approx(weights)


def play(weights: Weights, best: str, rounds: int, floor: float, horizon: int) -> Weights:
    """The best arm's items are always right, the others' never; every round asks for the best arm's item."""
    arms = list(weights)
    of = {arm: k for k, arm in enumerate(arms)}
    for _ in range(rounds):
        outcome = proposed(chances(weights, floor), of, of[best])
        weights = updated(weights, outcome, 1.0, floor=floor, delta=0.1, horizon=horizon)
        assert all(0 < weight <= 1 for weight in weights.values())
        assert max(weights.values()) == 1
    return weights


@pytest.mark.parametrize("floor", [1e-6, 0.05, 1 / 3])
@pytest.mark.parametrize("horizon", [1, 100, 1_000_000])
def test_weights_neither_overflow_nor_vanish(floor: float, horizon: int) -> None:
    weights = play(dict.fromkeys(ARMS, 1.0), "margin", 10_000, floor, horizon)
    found = chances(weights, floor)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) >= floor * (1 - 1e-9)
    assert weights["coreset"] == pytest.approx(weights["least_confidence"])


def test_an_arm_that_failed_ten_thousand_times_can_win_again() -> None:
    fallen = play(dict.fromkeys(ARMS, 1.0), "margin", 10_000, 1 / 3, 1_000_000)
    assert 0 < fallen["coreset"] < 1e-200
    risen = play(fallen, "coreset", 3_000, 1 / 3, 1_000_000)
    assert risen["coreset"] == 1
    assert risen["margin"] < 1e-3


def test_a_chance_from_a_smaller_floor_does_not_overflow() -> None:
    """What was proposed under a tiny floor may come back under a large one."""
    outcome = Outcome(1e-6, {"coreset": 1 - 1e-6, "least_confidence": 1e-6}, ["least_confidence"])
    found = updated(dict.fromkeys(ARMS[:2], 1.0), outcome, 1.0, floor=0.5, delta=0.1, horizon=1)
    assert found["least_confidence"] == 1
    assert 0 < found["coreset"] < 1e-200


def test_the_better_arm_is_followed_more_and_more() -> None:
    """Items are drawn by a stratified sequence: the better arm's succeed nine times of ten, the other's once."""
    weights: Weights = dict.fromkeys(ARMS[:2], 1.0)
    floor, of = 0.05, {"coreset": 0, "least_confidence": 1}
    asked, hits = [0, 0], [0, 0]
    followed = []
    for step in range(1500):
        probabilities = chances(weights, floor)
        followed.append(probabilities["least_confidence"])
        item = int((step * 0.6180339887) % 1 >= probabilities["coreset"])
        asked[item] += 1
        hit = (asked[item] % 10 > 0) if item else (asked[item] % 10 == 0)
        hits[item] += hit
        outcome = proposed(probabilities, of, item)
        weights = updated(weights, outcome, float(hit), floor=floor, delta=0.1, horizon=1500)
    assert hits[1] > 5 * hits[0]
    averages = [sum(followed[start : start + 300]) / 300 for start in range(0, 1500, 300)]
    assert averages[0] > 0.5
    assert averages[-1] > 0.9
    assert followed[-1] <= 1 - floor + 1e-12
