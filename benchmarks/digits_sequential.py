"""Sequential labeling of digits through the service: look-ahead against random and margin, over several seeds.

    python -m benchmarks.digits_sequential

A seed is a split, twenty initial labels and a network trained on them once. Then eighty labels stream in, each
chosen by the strategy from the kernel model that knows all labels before. Accuracy is the kernel model's on 500
held-out digits; at the end the network is also trained anew on all hundred labels.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from client.sdk import Client
from demo import digits
from demo.arm import Arm
from demo.plot import draw, mean_and_error
from embedded.supervisor import Supervisor

INITIAL, STREAMED, EVERY = 20, 80, 5
STEPS_MAX = 1000  # keeps the seeds of one run's steps apart from another's
STRATEGIES = ["mlmoc", "margin", "random"]
Curves = dict[str, list[list[float]]]
console = Console(highlight=False, soft_wrap=True)


def label_sequentially(client: Client, seed: int, strategy: str, network_weights: bytes) -> tuple[list[float], float]:
    """(held-out accuracies of the kernel model every EVERY labels, that of a network retrained at the end)."""
    data = digits.split(seed, INITIAL)
    arm = Arm(client, f"{strategy}-{seed}", data)
    arm.prepare(network_weights, digits.HIDDEN)
    curve = [arm.accuracy()]
    rows = list(data.initial)
    item = client.suggest(arm.project, strategy=strategy, seed=seed).suggestions[0].item
    for step in range(1, STREAMED + 1):
        rows.append(int(item.rpartition("-")[2]))
        item = arm.stream(item, strategy, seed=STEPS_MAX * (seed + 1) + step)
        if step % EVERY == 0:
            curve.append(arm.accuracy())
    return curve, digits.accuracy(digits.train(data, rows, seed), data)


def report(curves: Curves, retrained: dict[str, list[float]]) -> dict[str, Any]:
    """Print the table; returns its figures."""
    table = Table("strategy", "mean over the run", "at 60 labels", "at 100 labels", "network retrained on 100")
    figures: dict[str, Any] = {}
    for strategy in STRATEGIES:
        runs = curves[strategy]
        columns = {
            "mean over the run": [statistics.mean(curve) for curve in runs],
            "at 60 labels": [curve[(60 - INITIAL) // EVERY] for curve in runs],
            "at 100 labels": [curve[-1] for curve in runs],
            "network retrained on 100": retrained[strategy],
        }
        cells = {name: mean_and_error(values) for name, values in columns.items()}
        table.add_row(strategy, *(f"{mean:.2%} ± {error:.2%}" for mean, error in cells.values()))
        figures[strategy] = {name: [round(mean, 5), round(error, 5)] for name, (mean, error) in cells.items()}
        points = [mean_and_error(values) for values in zip(*runs, strict=True)]
        figures[strategy]["by labels"] = {
            INITIAL + step * EVERY: [round(mean, 5), round(error, 5)] for step, (mean, error) in enumerate(points)
        }
    console.print(table)
    for other in STRATEGIES[1:]:
        gains = [statistics.mean(a) - statistics.mean(b) for a, b in zip(curves["mlmoc"], curves[other], strict=True)]
        mean, error = mean_and_error(gains)
        console.print(f"mlmoc - {other}, mean over the run, paired by seed: {mean:+.2%} ± {error:.2%}")
        figures[f"mlmoc - {other}"] = [round(mean, 5), round(error, 5)]
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--picture", type=Path, default=Path("docs/img/digits-sequential.png"))
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args(arguments)
    curves: Curves = defaultdict(list)
    retrained: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="lookahead-bench-") as folder:
        Path(folder).chmod(0o755)
        with Supervisor(Path(folder), port=0) as service, Client(service.url) as client:
            for seed in track(range(options.seeds), "seeds", console=console, transient=True):
                data = digits.split(seed, INITIAL)
                weights = digits.weights(digits.train(data, data.initial, seed))
                for strategy in STRATEGIES:
                    curve, final = label_sequentially(client, seed, strategy, weights)
                    curves[strategy].append(curve)
                    retrained[strategy].append(final)
    figures = report(curves, retrained)
    draw(curves, range(INITIAL, INITIAL + STREAMED + 1, EVERY), options.picture)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
