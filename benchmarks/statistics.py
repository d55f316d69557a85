"""Comparing strategies over many blocks: ranks, the Friedman and Wilcoxon tests, critical differences.

Source: [D] J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006.

Values are arrays (B, S): B blocks, each a problem that all of S strategies were run on. Seeds of one problem are
not independent data sets: tests over seed blocks speak of these problems, tests over means of problems at large.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Key = tuple[str, str, int, str]  # (dataset, model, seed, strategy)
Blocks = Literal["seeds", "means"]


@dataclass(frozen=True)
class Table:
    """One value for every block and strategy: `values` is (B, S) for B `blocks` and S `strategies`."""

    blocks: list[tuple[str, ...]]
    strategies: list[str]
    values: Array


@dataclass(frozen=True)
class Friedman:
    """χ² with S − 1 degrees of freedom, corrected for ties; the average rank of each strategy, (S,), 1 the best."""

    statistic: float
    p_value: float
    average_ranks: Array


@dataclass(frozen=True)
class Comparison:
    """The reference against one strategy: differences are reference − strategy, in the unit of the values."""

    strategy: str
    mean_difference: float
    standard_error: float
    wins: int
    ties: int
    losses: int
    p_value: float
    adjusted_p_value: float


def block_table(scores: Mapping[Key, float], blocks: Blocks) -> Table:
    """Scores by (dataset, model, seed, strategy) as a table whose blocks and strategies are in sorted order.

    "seeds" makes a block of every dataset, model and seed; "means" one of every dataset and model, averaged over
    seeds. Raises ValueError when there are no scores or a strategy lacks a block another has: an average over
    different seeds would compare different problems.
    """
    if blocks not in ("seeds", "means"):
        raise ValueError(f"blocks are 'seeds' or 'means', not {blocks!r}")
    if not scores:
        raise ValueError("there are no scores")
    strategies = sorted({strategy for *_, strategy in scores})
    problems = sorted({key[:3] for key in scores})
    missing = [(*problem, name) for problem in problems for name in strategies if (*problem, name) not in scores]
    if missing:
        dataset, model, seed, strategy = missing[0]
        more = f", and {len(missing) - 1} more such runs are missing" if len(missing) > 1 else ""
        raise ValueError(f"strategy {strategy!r} has no run on {dataset}, {model}, seed {seed}{more}")
    rows = {problem: [float(scores[*problem, name]) for name in strategies] for problem in problems}
    if blocks == "seeds":
        names = [(dataset, model, str(seed)) for dataset, model, seed in problems]
        return Table([*names], strategies, np.array([rows[problem] for problem in problems]))
    groups: dict[tuple[str, ...], list[list[float]]] = defaultdict(list)
    for problem in problems:
        groups[problem[:2]].append(rows[problem])
    return Table([*groups], strategies, np.array([np.mean(group, axis=0) for group in groups.values()]))


def _checked(values: ArrayLike, strategies_min: int = 2, blocks_min: int = 1) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"values are (blocks, strategies), not of shape {array.shape}")
    if array.shape[0] < blocks_min or array.shape[1] < strategies_min:
        raise ValueError(
            f"at least {blocks_min} block(s) and {strategies_min} strategies are needed, the values are {array.shape}"
        )
    absent = np.argwhere(~np.isfinite(array))
    if len(absent):
        raise ValueError(f"strategy {absent[0][1]} has no finite value in block {absent[0][0]}")
    return array


def ranks(values: ArrayLike, *, higher_is_better: bool = True) -> Array:
    """Ranks (B, S) within each block of values (B, S), 1 the best; tied strategies share the mean of their ranks.

    Raises ValueError when the values are no such array or one is missing (not finite).
    """
    array = _checked(values)
    ranked: Array = stats.rankdata(-array if higher_is_better else array, axis=1)
    return ranked


def friedman(values: ArrayLike, *, higher_is_better: bool = True) -> Friedman:
    """The Friedman test on values (B, S) that all strategies are alike [D section 3.2.2], corrected for ties.

    When every block is one tie, nothing speaks against that: the statistic is 0 and the p-value 1. Raises
    ValueError for fewer than 3 strategies or 2 blocks, or where a value is missing (not finite).
    """
    ranked = ranks(_checked(values, strategies_min=3, blocks_min=2), higher_is_better=higher_is_better)
    B, S = ranked.shape
    between = np.square(ranked.sum(axis=0) - B * (S + 1) / 2).sum()
    within = np.square(ranked).sum() - B * S * (S + 1) ** 2 / 4
    statistic = float((S - 1) * between / within) if within > 0 else 0.0
    return Friedman(statistic, float(stats.chi2.sf(statistic, S - 1)), ranked.mean(axis=0))


def nemenyi_critical_difference(strategies: int, blocks: int, level: float = 0.05) -> float:
    """The difference of two average ranks from which on they differ at this level, by Nemenyi's test [D section 3.2.2].

    Raises ValueError for fewer than 2 strategies, no block, or a level outside (0, 1).
    """
    if strategies < 2 or blocks < 1:
        raise ValueError(f"at least 2 strategies and 1 block are needed, not {strategies} and {blocks}")
    if not 0 < level < 1:
        raise ValueError(f"the level is between 0 and 1, not {level}")
    quantile = float(stats.studentized_range.ppf(1 - level, strategies, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(strategies * (strategies + 1) / (6 * blocks))


def holm(p_values: ArrayLike) -> Array:
    """P-values (K,) adjusted for K tests by Holm's step-down method [D section 3.2.2]: at most 1, in the given order.

    Raises ValueError when they are not a vector of numbers between 0 and 1.
    """
    array = np.asarray(p_values, dtype=np.float64)
    if array.ndim != 1 or not bool(np.all((array >= 0) & (array <= 1))):
        raise ValueError("p-values are a vector of numbers between 0 and 1")
    order = np.argsort(array, kind="stable")
    stepped = np.maximum.accumulate(array[order] * np.arange(len(array), 0, -1))
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def paired_differences(values: ArrayLike, reference: int) -> tuple[Array, Array]:
    """(means, standard errors), each (S,), of reference − strategy over the blocks of values (B, S).

    Raises ValueError for fewer than 2 blocks, an unknown reference, or where a value is missing (not finite).
    """
    array = _checked(values, blocks_min=2)
    if not 0 <= reference < array.shape[1]:
        raise ValueError(f"the reference is a column from 0 to {array.shape[1] - 1}, not {reference}")
    differences = array[:, [reference]] - array
    errors: Array = differences.std(axis=0, ddof=1) / math.sqrt(len(array))
    return differences.mean(axis=0), errors


def _wilcoxon(differences: Array) -> float:
    if not differences.any():
        return 1.0
    # Half of the zeros count for each side, as [D section 3.1.3] has it; dropping them would overstate a difference.
    return float(stats.wilcoxon(differences, zero_method="zsplit").pvalue)


def compare_with_reference(
    values: ArrayLike, strategies: Sequence[str], reference: str, *, higher_is_better: bool = True
) -> list[Comparison]:
    """The reference against each other strategy over the blocks of values (B, S), in the order of `strategies`.

    P-values are of the two-sided Wilcoxon signed-rank test [D section 3.1.3], also with Holm's correction over the
    S − 1 tests. Raises ValueError for fewer than 2 blocks, names that do not fit the columns, an unknown
    reference, or where a value is missing (not finite).
    """
    array = _checked(values, blocks_min=2)
    if len(strategies) != array.shape[1] or len(set(strategies)) != len(strategies):
        raise ValueError(f"{array.shape[1]} different strategies are to be named, not {list(strategies)}")
    if reference not in strategies:
        raise ValueError(f"the reference {reference!r} is none of the strategies {list(strategies)}")
    column = list(strategies).index(reference)
    means, errors = paired_differences(array, column)
    others = [k for k in range(len(strategies)) if k != column]
    differences = array[:, [column]] - array
    p_values = [_wilcoxon(differences[:, k]) for k in others]
    better = differences if higher_is_better else -differences
    return [
        Comparison(
            strategy=strategies[k],
            mean_difference=float(means[k]),
            standard_error=float(errors[k]),
            wins=int((better[:, k] > 0).sum()),
            ties=int((better[:, k] == 0).sum()),
            losses=int((better[:, k] < 0).sum()),
            p_value=p,
            adjusted_p_value=float(adjusted),
        )
        for k, p, adjusted in zip(others, p_values, holm(p_values), strict=True)
    ]
