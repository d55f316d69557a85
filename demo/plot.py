"""Learning curves, drawn with matplotlib."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

Curves = Mapping[str, Sequence[Sequence[float]]]
COLORS = ["#1f6f8b", "#c8553d", "#7d7d7d"]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def draw(curves: Curves, labels: Sequence[int], path: Path) -> None:
    """Mean and standard error of accuracies over runs, by strategy, against the number of labels."""
    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=150)
    for (strategy, runs), color in zip(curves.items(), COLORS, strict=False):
        points = [mean_and_error([run[k] for run in runs]) for k in range(len(labels))]
        means, errors = [mean for mean, _ in points], [error for _, error in points]
        axes.plot(labels, means, color=color, label=strategy)
        lower = [mean - error for mean, error in zip(means, errors, strict=True)]
        upper = [mean + error for mean, error in zip(means, errors, strict=True)]
        axes.fill_between(labels, lower, upper, color=color, alpha=0.2, linewidth=0)
    runs_each = len(next(iter(curves.values())))
    axes.set_xlabel("labels")
    axes.set_ylabel("accuracy on 500 held-out digits")
    axes.set_title(f"Kernel model, one label at a time ({runs_each} seeds, mean ± standard error)", fontsize=11)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)
