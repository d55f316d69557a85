"""Tables, tests and figures of the runs: docs/label-efficiency.md and the pictures it shows."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.curves import Run, area, draw_all_curves, draw_ranks, labels_to_reach
from benchmarks.label_efficiency.settings import SETTINGS, Setting, entries
from benchmarks.statistics import block_table, compare_with_reference, friedman, ranks

REFERENCE = "mlmoc, label by label"
DOUBTING = "mlmoc, label by label, noise 0.3"
# One colour each on all figures.
HIGHLIGHTED = [
    *("auto", "auto, label by label", REFERENCE, DOUBTING, "margin", "typiclust", "random"),
    "skactiveml:max_herding",
]
TARGETS = {
    "digits": (0.85, 0.9),
    "breast_cancer": (0.92, 0.95),
    "wine": (0.9, 0.95),
    "glyphs10": (0.4, 0.5),
    "encoded_glyphs62": (0.3, 0.35),
}
_INTRODUCTION = """# Label efficiency

Every strategy, and those of scikit-activeml and small-text, on the same splits, first labels, candidates and networks; written by

    make bench-labels

A row starts from the same labels drawn at random. At every label count the network is trained from its initial weights and measured on held-out items;
then the strategy chooses among the same candidates until the next count. "Label by label" means that each true label streams into the kernel model
before the next choice, as with `POST /label`; all other rows choose a whole batch. Peers see the network's last-layer inputs and its calibrated
probabilities. Area is the mean height of the accuracy curve, "to" the median labels until an accuracy is reached, rank the mean over seeds by area; errors
are standard errors over seeds. Milliseconds are per pick without training and preparing, on two processors that did other work too: read them as orders of magnitude.
p is Wilcoxon's signed-rank test over the seeds, two-sided, with Holm's correction for the comparisons of that table.
"""  # noqa: E501

Group = dict[str, list[Run]]


def complete(runs: Sequence[Run], setting: Setting) -> Group:
    """Runs by strategy, of the seeds that all strategies of the setting have that ran at all."""
    own = [run for run in runs if (run.dataset, run.model) == (setting.dataset, setting.model)]
    names = {run.strategy for run in own}
    seeds: dict[int, set[str]] = defaultdict(set)
    for run in own:
        seeds[run.seed].add(run.strategy)
    whole = {seed for seed, found in seeds.items() if found == names}
    group: Group = defaultdict(list)
    for run in sorted(own, key=lambda run: run.seed):
        if run.seed in whole:
            group[run.strategy].append(run)
    return group


def write(runs: Sequence[Run], failures: Sequence[str], page: Path, pictures: Path) -> None:
    """The page and its figures. Settings with fewer than two complete seeds are left out."""
    groups = {setting.name: (setting, complete(runs, setting)) for setting in SETTINGS}
    groups = {name: pair for name, pair in groups.items() if len(next(iter(pair[1].values()), [])) > 1}
    used = [run for _, group in groups.values() for own in group.values() for run in own]
    paths = draw_all_curves(used, HIGHLIGHTED, pictures)
    parts = [_INTRODUCTION, *_overall(groups, pictures)]
    ordered = sorted(groups.values(), key=lambda pair: (pair[0].dataset, pair[0].model))
    for (setting, group), path in zip(ordered, paths, strict=True):
        parts += _section(setting, group, path.relative_to(page.parent))
    if failures:
        parts.append(
            "## What did not run\n\n" + "\n".join(f"- {line.replace(':: ', ': ', 1)}" for line in failures) + "\n"
        )
    page.write_text("\n".join(parts))


def _section(setting: Setting, group: Group, picture: Path) -> list[str]:
    areas = {name: [area(run) for run in own] for name, own in group.items()}
    names = sorted(areas, key=lambda name: -statistics.mean(areas[name]))
    table = np.array([areas[name] for name in names]).T
    mean_ranks = ranks(table).mean(axis=0)
    test = friedman(table)
    counts = next(iter(group.values()))[0].labels
    targets = TARGETS[setting.dataset]
    seeds = len(table)
    lines = [
        f"## {setting.name}\n",
        f"{seeds} seeds; {counts[0]} to {counts[-1]} labels of {len(setting.load().classes)} classes; "
        f"{setting.window} candidates at a time. Friedman: χ² = {test.statistic:.0f}, "
        f"{len(names) - 1} degrees of freedom, p = {test.p_value:.1e}.\n",
        f"![learning curves]({picture})\n",
        "| strategy | area | at the end | "
        + " | ".join(f"to {target:.0%}" for target in targets)
        + " | rank | ms per pick |",
        "|---|---|---|" + "---|" * len(targets) + "---|---|",
    ]
    for name, rank in zip(names, mean_ranks, strict=True):
        own = group[name]
        cells = [_mean(areas[name]), _mean([run.accuracies[-1] for run in own])]
        cells += [_reached(own, target) for target in targets]
        cells += [f"{rank:.1f}", f"{1000 * statistics.median(run.seconds_per_pick for run in own):.3g}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, "", *_comparisons(areas), ""]


def _comparisons(areas: dict[str, list[float]]) -> list[str]:
    """The look-ahead rows against the best peer and the yardsticks."""
    best = best_peer(areas)
    lines = ["| | against | difference of areas | wins, ties, losses | p |", "|---|---|---|---|---|"]
    for reference in (REFERENCE, DOUBTING, "auto"):
        if reference not in areas:
            continue
        others = list(dict.fromkeys([name for name in (best, "random", "margin") if name in areas]))
        values = np.array([areas[name] for name in [reference, *others]]).T
        lines += [
            f"| {reference} | {found.strategy} | {found.mean_difference:+.4f} ± {found.standard_error:.4f} | "
            f"{found.wins}, {found.ties}, {found.losses} | {found.adjusted_p_value:.3f} |"
            for found in compare_with_reference(values, [reference, *others], reference)
        ]
    return lines


def best_peer(areas: dict[str, list[float]]) -> str:
    """The peer with the largest mean area."""
    return max((name for name in areas if ":" in name), key=lambda name: statistics.mean(areas[name]))


def _overall(groups: dict[str, tuple[Setting, Group]], pictures: Path) -> list[str]:
    """Mean ranks over the problems with squared loss and first labels, of the strategies that ran on all of them."""
    wide = {name: pair for name, pair in groups.items() if pair[0].counts[0] > 0 and pair[0].training.loss == "squared"}
    if not wide:
        return []
    common = set.intersection(*(set(group) for _, group in wide.values()))
    scores = {run.key: area(run) for _, group in wide.values() for name in common for run in group[name]}
    means = block_table(scores, "means")
    seeds = block_table(scores, "seeds")
    by_problem = np.array(
        [
            ranks(
                np.array([row for block, row in zip(seeds.blocks, seeds.values, strict=True) if block[:2] == problem])
            ).mean(axis=0)
            for problem in means.blocks
        ]
    )
    draw_ranks(by_problem.T, means.strategies, [", ".join(block) for block in means.blocks], pictures / "ranks.png")
    test = friedman(means.values) if len(means.blocks) > 1 else None
    said = (
        ""
        if test is None
        else f" Friedman over the problems' means: χ² = {test.statistic:.0f}, p = {test.p_value:.1e}."
    )
    return [
        "## All problems together\n",
        f"Mean ranks among the {len(common)} strategies that ran on all of {len(wide)} problems.{said}\n",
        f"![mean ranks]({pictures.name}/ranks.png)\n",
    ]


def _mean(values: Sequence[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {error:.4f}"


def _reached(runs: Sequence[Run], target: float) -> str:
    found = [labels_to_reach(run, target) for run in runs]
    reached = sorted(float("inf") if labels is None else labels for labels in found)
    middle = statistics.median(reached)
    return "–" if middle == float("inf") else f"{middle:.0f}"


def absent(runs: Sequence[Run], seeds: int) -> int:
    """How many runs the benchmark still owes."""
    known = {run.key for run in runs}
    wanted = ((s.dataset, s.model, seed, e.name) for s in SETTINGS for seed in range(seeds) for e in entries(s))
    return sum(key not in known for key in wanted)
