"""Runs of a label-efficiency benchmark: their file, the figures of one curve, and their pictures."""

import fcntl
import json
import math
import os
import re
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Key = tuple[str, str, int, str]  # (dataset, model, seed, strategy)

HIGHLIGHTED_MAX = 8
# The "muted" scheme of P. Tol, told apart by colour-blind eyes, without the one colour too pale on white.
PALETTE = ["#332288", "#CC6677", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
GREY = "#BBBBBB"
DOTS_PER_INCH = 140
WIDTH_INCHES = 9.5
LABEL_GAP = 0.045  # of the height of the axes: one line of text
CHARACTER_INCHES = 0.075  # width of a character of a name


@dataclass
class Run:
    """Accuracies (fractions) of one strategy at increasing label counts, and the seconds one pick took on average.

    Raises ValueError when counts and accuracies do not pair up, counts do not increase, or a number is out of range.
    """

    dataset: str
    model: str
    strategy: str
    seed: int
    labels: list[int]
    accuracies: list[float]
    seconds_per_pick: float

    def __post_init__(self) -> None:
        if not self.labels or len(self.labels) != len(self.accuracies):
            raise ValueError(f"{self.key}: {len(self.labels)} label counts for {len(self.accuracies)} accuracies")
        if any(after <= before for before, after in zip(self.labels, self.labels[1:], strict=False)):
            raise ValueError(f"{self.key}: label counts must increase, these do not: {self.labels}")
        if not all(0 <= accuracy <= 1 for accuracy in self.accuracies):
            raise ValueError(f"{self.key}: accuracies are fractions between 0 and 1, not {self.accuracies}")
        if not (math.isfinite(self.seconds_per_pick) and self.seconds_per_pick >= 0):
            raise ValueError(f"{self.key}: seconds per pick are at least 0, not {self.seconds_per_pick}")

    @property
    def key(self) -> Key:
        """(dataset, model, seed, strategy): no two runs of a benchmark share it."""
        return (self.dataset, self.model, self.seed, self.strategy)


def append(path: Path, run: Run) -> None:
    """Add a run to the file, made if need be, and see it on disk before returning.

    What a killed process left of a last line is cut off; several processes may write in turn.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.write(json.dumps(asdict(run)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Run]:
    """The runs of a file in the order they were added; none when there is no file. A last line cut short is no run.

    Raises ValueError naming the line that is no run or repeats one.
    """
    if not path.exists():
        return []
    runs: dict[Key, Run] = {}
    for number, line in enumerate(path.read_text().split("\n")[:-1], start=1):
        try:
            run = Run(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is no run: {error}") from error
        if run.key in runs:
            raise ValueError(f"{path}, line {number} repeats the run {run.key}")
        runs[run.key] = run
    return list(runs.values())


def done(path: Path) -> set[Key]:
    """Keys (dataset, model, seed, strategy) of the runs in a file, so that a benchmark goes on where it was stopped.

    Raises ValueError as `read` does.
    """
    return {run.key for run in read(path)}


def area(run: Run) -> float:
    """Area under the accuracy curve by the trapezoid rule over the range of label counts: an accuracy, in [0, 1].

    Raises ValueError when there is one label count only.
    """
    if len(run.labels) < 2:
        raise ValueError(f"{run.key}: an area needs two label counts at least")
    return float(np.trapezoid(run.accuracies, run.labels) / (run.labels[-1] - run.labels[0]))


def labels_to_reach(run: Run, accuracy: float) -> float | None:
    """Labels at which the curve, linear between its points, first reaches an accuracy; None when it never does."""
    for k, (labels, reached) in enumerate(zip(run.labels, run.accuracies, strict=True)):
        if reached < accuracy:
            continue
        if k == 0:
            return float(labels)
        before, low = run.labels[k - 1], run.accuracies[k - 1]
        return before + (labels - before) * (accuracy - low) / (reached - low)
    return None


def mean_curve(runs: Sequence[Run]) -> tuple[list[int], Array, Array]:
    """(label counts (K,), mean accuracies (K,), standard errors (K,)) over runs that differ by their seeds only.

    The error of a single run is 0. Raises ValueError when there are no runs or their label counts differ.
    """
    if not runs:
        raise ValueError("there are no runs")
    if any(run.labels != runs[0].labels for run in runs):
        other = next(run for run in runs if run.labels != runs[0].labels)
        raise ValueError(f"{runs[0].key} and {other.key} were measured at different label counts")
    values = np.array([run.accuracies for run in runs])
    errors = values.std(axis=0, ddof=1) / math.sqrt(len(runs)) if len(runs) > 1 else np.zeros(values.shape[1])
    return runs[0].labels, values.mean(axis=0), errors


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions moved as little as it takes to be `gap` apart, in the same order, within [0, 1] if they fit there."""
    order = sorted(range(len(positions)), key=lambda k: positions[k])
    moved = [0.0] * len(positions)
    height = -math.inf
    for k in order:
        height = moved[k] = max(positions[k], height + gap)
    ceiling = 1.0
    for k in reversed(order):
        moved[k] = min(moved[k], ceiling)
        ceiling = moved[k] - gap
    return moved


def _draw_line(axes: Axes, runs: Sequence[Run], place: int | None) -> float:
    labels, means, errors = mean_curve(runs)
    if place is None:
        axes.plot(labels, means, color=GREY, linewidth=0.8, zorder=1)
        return float(means[-1])
    color = PALETTE[place]
    every = max(1, len(labels) // 8)
    axes.plot(labels, means, color=color, linewidth=1.8, marker=MARKERS[place], markersize=5, markevery=every, zorder=3)
    axes.fill_between(labels, means - errors, means + errors, color=color, alpha=0.15, linewidth=0, zorder=2)
    return float(means[-1])


def _name_lines(axes: Axes, names: Sequence[str], ends: dict[int, float]) -> None:
    low, high = axes.get_ylim()
    heights = spread([(end - low) / (high - low) for end in ends.values()], LABEL_GAP)
    for place, height in zip(ends, heights, strict=True):
        color = PALETTE[place]
        axes.plot([1.03], [height], transform=axes.transAxes, clip_on=False, marker=MARKERS[place], color=color)
        axes.text(1.05, height, names[place], transform=axes.transAxes, color=color, va="center", fontsize=9)


def draw_curves(runs: Sequence[Run], highlighted: Sequence[str], path: Path) -> None:
    """A PNG of the learning curves on one dataset with one model: means and standard errors over seeds.

    The highlighted strategies (8 at most) are in colour, by their place in the list, and named at the right; all
    others thin and grey, named below. Raises ValueError when the runs are of several datasets or models, or no
    highlighted strategy has any.
    """
    problems = sorted({(run.dataset, run.model) for run in runs})
    if len(problems) != 1:
        raise ValueError(f"the runs of one dataset and model make a figure, these are of {problems}")
    if len(highlighted) > HIGHLIGHTED_MAX:
        raise ValueError(f"at most {HIGHLIGHTED_MAX} strategies can be told apart, not {len(highlighted)}")
    by_strategy: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_strategy[run.strategy].append(run)
    if highlighted and not any(name in by_strategy for name in highlighted):
        raise ValueError(f"on {problems[0]} there are no runs of {list(highlighted)}, only of {sorted(by_strategy)}")
    others = [name for name in sorted(by_strategy) if name not in highlighted]
    figure, axes = plt.subplots(figsize=(WIDTH_INCHES, 5.6), dpi=DOTS_PER_INCH)
    for name in others:
        _draw_line(axes, by_strategy[name], None)
    ends = {k: _draw_line(axes, by_strategy[name], k) for k, name in enumerate(highlighted) if name in by_strategy}
    _name_lines(axes, highlighted, ends)
    axes.set(xlabel="labels", ylabel="accuracy", title=f"{problems[0][0]}, {problems[0][1]}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    grey = textwrap.wrap(f"grey: {', '.join(others)}", 120) if others else []
    figure.text(0.02, 0.015, "\n".join(grey), color="#666666", fontsize=8)
    longest = max((len(name) for name in highlighted), default=0)
    right = 1 - (0.6 + CHARACTER_INCHES * longest) / WIDTH_INCHES
    figure.subplots_adjust(left=0.08, right=min(0.97, max(0.5, right)), top=0.93, bottom=0.11 + 0.03 * len(grey))
    _save(figure, path)


def draw_all_curves(runs: Sequence[Run], highlighted: Sequence[str], folder: Path) -> list[Path]:
    """One figure for every dataset and model, as `draw_curves`, a strategy in one colour on all; returns the paths.

    Raises ValueError as `draw_curves` does.
    """
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.dataset, run.model].append(run)
    paths = []
    for (dataset, model), group in sorted(groups.items()):
        paths.append(folder / (re.sub(r"[^\w]+", "-", f"{dataset} {model}") + ".png"))
        draw_curves(group, highlighted, paths[-1])
    return paths


def draw_ranks(mean_ranks: ArrayLike, strategies: Sequence[str], datasets: Sequence[str], path: Path) -> None:
    """A PNG heat map of mean ranks (S, K) by strategy and dataset, the best strategy on the mean of datasets on top.

    Raises ValueError when the names do not fit the array.
    """
    array = np.asarray(mean_ranks, dtype=np.float64)
    if array.shape != (len(strategies), len(datasets)) or array.size == 0:
        raise ValueError(f"mean ranks are ({len(strategies)} strategies, {len(datasets)} datasets), not {array.shape}")
    order = np.argsort(array.mean(axis=1), kind="stable")
    left = 0.4 + CHARACTER_INCHES * max(len(name) for name in strategies)
    width = min(WIDTH_INCHES, left + 0.9 * len(datasets) + 1.2)
    height = 1.5 + 0.3 * len(strategies)
    figure, axes = plt.subplots(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    scale = Normalize(float(array.min()), float(array.max()))
    picture = axes.imshow(array[order], aspect="auto", cmap="cividis", norm=scale)
    axes.set_xticks(range(len(datasets)), list(datasets), rotation=30, ha="right")
    axes.set_yticks(range(len(strategies)), [strategies[k] for k in order])
    for (row, column), value in np.ndenumerate(array[order]):
        color = "black" if scale(value) > 0.55 else "white"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(picture, ax=axes, label="mean rank (1 is best)")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
