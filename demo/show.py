"""The demonstration proper: label digits by look-ahead and by chance, paired by split."""

import secrets
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api_schemas.jobs import Job
from client.sdk import Client
from demo import digits
from demo.arm import Arm

INITIAL, STREAMED, EVERY = 20, 40, 10

console = Console(highlight=False, soft_wrap=True)


def run(client: Client, splits: int, plot: Path | None) -> None:
    """Run it `splits` times over against a service that answers; `plot` is where to draw the curves, if anywhere."""
    # Projects of their own on every run, so that a service that goes on can be shown twice.
    run_name = f"demo-{secrets.token_hex(3)}"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    look_ahead, chance, times = [], [], []
    console.print(
        f"{splits} times over: train a small network on {INITIAL} handwritten digits, then label {STREAMED} more, "
        "one by one."
    )
    with Progress(*columns, console=console, transient=True) as progress:
        streaming = progress.add_task("suggest, label, suggest", total=STREAMED * splits)
        for seed in range(splits):
            data = digits.split(seed, INITIAL)
            weights = digits.weights(digits.train(data, data.initial, seed))
            arm = Arm(client, f"{run_name}-look-ahead-{seed}", data)
            _prepare(arm, weights, progress)
            look_ahead.append(_look_ahead(arm, lambda: progress.advance(streaming)))
            times += arm.milliseconds
            by_chance = Arm(client, f"{run_name}-chance-{seed}", data)
            _prepare(by_chance, weights, progress)
            chance.append(_chance(by_chance, seed))
    _report(look_ahead, chance, times)
    if plot is not None:
        from demo.plot import draw

        labels = [INITIAL + step * EVERY for step in range(len(look_ahead[0]))]
        draw({"look-ahead": look_ahead, "by chance": chance}, labels, plot)
        console.print(f"The curves are drawn in {plot}.", markup=False)


def _prepare(arm: Arm, weights: bytes, progress: Progress) -> None:
    preparing = progress.add_task("preparing the kernel", total=None)

    def prepared(job: Job) -> None:
        progress.update(preparing, completed=job.progress.done, total=job.progress.total or None)

    arm.prepare(weights, digits.HIDDEN, prepared)
    progress.remove_task(preparing)


def _look_ahead(arm: Arm, advance: Callable[[], None]) -> list[float]:
    """Held-out accuracy after every EVERY labels, each suggestion resting on the label before it."""
    curve = [arm.accuracy()]
    item = arm.client.suggest(arm.project).suggestions[0].item
    for step in range(1, STREAMED + 1):
        item = arm.stream(item, "auto")
        advance()
        if step % EVERY == 0:
            curve.append(arm.accuracy())
    return curve


def _chance(arm: Arm, seed: int) -> list[float]:
    """The same with labels drawn at random."""
    others = [row for row in range(len(arm.digits.pool)) if row not in set(arm.digits.initial)]
    rows = np.random.default_rng(seed).permutation(others)[:STREAMED].tolist()
    curve = [arm.accuracy()]
    for start in range(0, STREAMED, EVERY):
        arm.label_rows(rows[start : start + EVERY])
        curve.append(arm.accuracy())
    return curve


def _report(look_ahead: list[list[float]], chance: list[list[float]], times: list[float]) -> None:
    table = Table("labels", "look-ahead", "by chance", title="Held-out accuracy (mean ± sd)")

    def cell(curves: list[list[float]], step: int) -> str:
        values = [curve[step] for curve in curves]
        return f"{statistics.mean(values):.1%} ± {statistics.stdev(values):.1%}"

    for step in range(len(look_ahead[0])):
        table.add_row(str(INITIAL + step * EVERY), cell(look_ahead, step), cell(chance, step))
    console.print(table)
    ordered = sorted(times)
    console.print(
        f"Each network was trained once, on {INITIAL} labels; every further label updated its kernel model.\n"
        f"From label to next suggestion: median {statistics.median(times):.0f} ms, "
        f"95th percentile {ordered[int(0.95 * len(ordered))]:.0f} ms ({len(times)} times, over HTTP)."
    )
