"""`python -m demo`: label digits with Lookahead and by chance, side by side, on a service of its own."""

import argparse
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api_schemas.jobs import Job
from client.errors import LookaheadError
from client.sdk import Client
from demo import digits
from demo.arm import Arm
from embedded.errors import StartError
from embedded.supervisor import Supervisor

INITIAL, STREAMED, EVERY = 20, 40, 10
RANDOM_RUNS = 5
SEED = 0

console = Console(highlight=False, soft_wrap=True)


def run(client: Client) -> None:
    """The demonstration proper, against a service that answers."""
    data = digits.split(SEED, INITIAL)
    console.print(f"Training a small network on {INITIAL} of {len(data.pool)} handwritten digits ...")
    network = digits.train(data, data.initial, SEED)
    weights = digits.weights(network)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        ahead = Arm(client, "look-ahead", data)
        preparing = progress.add_task("preparing the kernel", total=None)

        def prepared(job: Job) -> None:
            progress.update(preparing, completed=job.progress.done, total=job.progress.total or None)

        ahead.prepare(weights, digits.HIDDEN, prepared)
        progress.remove_task(preparing)
        look_ahead = _look_ahead(ahead, progress)
        chance = _chance(client, data, weights, progress)
    _report(look_ahead, chance, ahead.milliseconds, digits.accuracy(network, data))


def _look_ahead(arm: Arm, progress: Progress) -> list[float]:
    """Held-out accuracy after every EVERY labels, each suggestion resting on the label before it."""
    streaming = progress.add_task("suggest, label, suggest", total=STREAMED)
    curve = [arm.accuracy()]
    item = arm.client.suggest(arm.project).suggestions[0].item
    for step in range(1, STREAMED + 1):
        item = arm.stream(item, "auto")
        progress.advance(streaming)
        if step % EVERY == 0:
            curve.append(arm.accuracy())
    return curve


def _chance(client: Client, data: digits.Digits, weights: bytes, progress: Progress) -> list[list[float]]:
    """The same with labels drawn at random, several times over."""
    drawing = progress.add_task("the same by chance", total=RANDOM_RUNS)
    curves = []
    others = [row for row in range(len(data.pool)) if row not in set(data.initial)]
    for run_number in range(RANDOM_RUNS):
        arm = Arm(client, f"chance-{run_number}", data)
        arm.prepare(weights, digits.HIDDEN)
        rows = np.random.default_rng(run_number).permutation(others)[:STREAMED].tolist()
        curve = [arm.accuracy()]
        for start in range(0, STREAMED, EVERY):
            arm.label_rows(rows[start : start + EVERY])
            curve.append(arm.accuracy())
        curves.append(curve)
        progress.advance(drawing)
    return curves


def _report(look_ahead: list[float], chance: list[list[float]], times: list[float], before: float) -> None:
    table = Table(
        "labels", "look-ahead", f"by chance (mean ± sd of {RANDOM_RUNS})", title="Accuracy on held-out digits"
    )
    for step, value in enumerate(look_ahead):
        runs = [curve[step] for curve in chance]
        table.add_row(
            str(INITIAL + step * EVERY),
            f"{value:.1%}",
            f"{statistics.mean(runs):.1%} ± {statistics.stdev(runs):.1%}",
        )
    console.print(table)
    ordered = sorted(times)
    console.print(
        f"The network was trained once, on {INITIAL} labels ({before:.1%}); every further label updated its kernel "
        "model.\nFrom label to next suggestion: "
        f"median {statistics.median(times):.0f} ms, 95th percentile {ordered[int(0.95 * len(ordered))]:.0f} ms "
        f"({len(times)} times, over HTTP)."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when it all worked."""
    parser = argparse.ArgumentParser(prog="lookahead demo", description=main.__doc__)
    parser.add_argument("--url", help="use a service that runs already; its projects must not exist yet")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            url = options.url
            if url is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookahead-demo-")))
                folder.chmod(0o755)
                port = int(os.environ.get("PORT", "0"))
                console.print("Starting PostgreSQL, Valkey, the service and two workers ...")
                url = stack.enter_context(Supervisor(folder, port=port, environment=_environment())).url
            run(stack.enter_context(Client(url)))
    except KeyboardInterrupt:
        console.print("Interrupted: everything that was started is stopped.")
        return 130
    except (StartError, LookaheadError, RuntimeError) as error:
        console.print(f"The demonstration could not go on: {error}", markup=False)
        return 1
    console.print("Everything that was started is stopped. Next: `make up`, then the README's first request.")
    return 0


def _environment() -> dict[str, str]:
    """Ours, less what would point the demonstration at somebody's real data."""
    ours = ("DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL", "LOOKAHEAD_AUTH", "LOOKAHEAD_HOME")
    return {name: value for name, value in os.environ.items() if name not in ours}


if __name__ == "__main__":
    sys.exit(main())
