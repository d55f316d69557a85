"""ALBL: a bandit that learns which of several strategies finds useful labels.

Source: [ALBL] Hsu and Lin, "Active Learning by Learning", AAAI 2015: EXP4.P over strategies, rewarded by the
importance-weighted accuracy of the model after a label has arrived.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Weights = Mapping[str, float]


def chances(weights: Weights, floor: float) -> dict[str, float]:
    """Probability of following each arm: its share of the weights, and at least `floor`. Sums to one."""
    total = sum(weights.values())
    return {arm: (1 - len(weights) * floor) * weight / total + floor for arm, weight in weights.items()}


def advice(probabilities: Mapping[str, float], proposals: Mapping[str, int]) -> dict[int, float]:
    """Probability of each proposed item: the sum over the arms that propose it."""
    found: dict[int, float] = {}
    for arm, item in proposals.items():
        found[item] = found.get(item, 0.0) + probabilities[arm]
    return found


@dataclass(frozen=True)
class Outcome:
    """One label that came back on a proposal."""

    chance: float  # of the item when it was proposed
    arm_chances: Mapping[str, float]  # of each arm's own proposal
    proposers: Sequence[str]  # arms that proposed this item


def reward(right: Sequence[bool], chances_then: Sequence[float]) -> float:
    """Importance-weighted accuracy over the labels asked for so far, in [0, 1], weighed by 1 / chance.

    Weights are normalised to sum to one: the source divides by the pool's size and the horizon instead, which no
    service knows, and which only scales the rewards.
    """
    weights = [1 / chance for chance in chances_then]
    return sum(weight for weight, hit in zip(weights, right, strict=True) if hit) / sum(weights)


def updated(weights: Weights, outcome: Outcome, gained: float, *, floor: float, delta: float, horizon: int) -> Weights:
    """EXP4.P's weights after an outcome: w · exp(floor/2 (ŷ + v̂ √(ln(K/δ) / (K T)))), scaled to a largest of one.

    ŷ is the reward over the item's chance for the arms that proposed it, v̂ one over the chance of the arm's own
    proposal, K the number of arms and T the horizon.
    """
    arms = len(weights)
    bonus = math.sqrt(math.log(arms / delta) / (arms * horizon))
    exponents = {
        arm: floor / 2 * ((gained / outcome.chance if arm in outcome.proposers else 0.0)
                          + bonus / outcome.arm_chances[arm])
        for arm in weights
    }  # fmt: skip
    # In logarithms nothing overflows; a weight that reached zero could never grow again.
    grown = {arm: math.log(weight) + exponents[arm] for arm, weight in weights.items()}
    largest = max(grown.values())
    return {arm: max(math.exp(log - largest), sys.float_info.min) for arm, log in grown.items()}
