"""Which strategy gets most out of few labels: every one of ours, and the peers', on the same splits and networks.

python -m benchmarks.label_efficiency run      about two hours of two processors; goes on where it was stopped
python -m benchmarks.label_efficiency report   tables, tests and figures of the runs so far
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from benchmarks.curves import read
from benchmarks.label_efficiency.measure import measure
from benchmarks.label_efficiency.report import absent, write
from benchmarks.label_efficiency.settings import CACHE, SETTINGS

RUNS = Path("docs/label-efficiency/runs.jsonl")
PAGE, PICTURES = Path("docs/label-efficiency.md"), Path("docs/label-efficiency")
SEEDS = 10
console = Console(highlight=False, soft_wrap=True)


def run(options: argparse.Namespace) -> int:
    """The quick settings first, then the others; all settings of a part have seen about as many seeds when stopped."""
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = [k for k, setting in enumerate(SETTINGS) if not options.only or setting.name in options.only]
    quick = [k for k in wanted if SETTINGS[k].quick]
    tasks = [
        (k, seed)
        for part in (quick, [k for k in wanted if k not in quick])
        for seed in range(options.seeds)
        for k in part
    ]
    failures = options.out.with_suffix(".failures.txt")
    # The encoded glyphs are made once, by whoever needs them first: not by both at once.
    for number in wanted:
        SETTINGS[number].load()
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(measure, number, seed, options.out, failures) for number, seed in tasks]
        for future in as_completed(futures):
            console.print(future.result())
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the page and its pictures."""
    runs = read(options.out)
    failures = options.out.with_suffix(".failures.txt")
    write(runs, failures.read_text().splitlines() if failures.exists() else [], PAGE, PICTURES)
    console.print(f"{len(runs)} runs in {PAGE}; {absent(runs, SEEDS)} of {SEEDS} seeds are missing")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when done."""
    parser = argparse.ArgumentParser(prog="benchmarks.label_efficiency", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run")
    running.add_argument("--seeds", type=int, default=SEEDS)
    running.add_argument("--processes", type=int, default=2)
    running.add_argument("--only", action="append", help="a setting's name, as 'digits, mlp'; can be given again")
    running.set_defaults(action=run)
    reporting = commands.add_parser("report")
    reporting.set_defaults(action=report)
    for command in (running, reporting):
        command.add_argument("--out", type=Path, default=RUNS, help="the file of runs")
    options = parser.parse_args(arguments)
    status: int = options.action(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
