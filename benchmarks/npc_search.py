"""NPC's searches side by side: the smallest eigenvalue each reaches, and in what time.

    python -m benchmarks.npc_search

The tangent kernel of a perceptron trained on scikit-learn's digits, 1,000 candidates. The naive way computes the
eigenvalues of each subset's whole matrix; it is timed on a few subsets and extrapolated.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table

from demo import digits
from ntk.acquisition.bordered import Bordered
from ntk.acquisition.npc import SWAP_ROUNDS, Picked, greedy_search, random_search, swap_search
from ntk.kernels import KernelEngine
from ntk.memory import keep_freed_memory

Tensor = torch.Tensor
Result = TypeVar("Result")
LABELED, BATCHES, CANDIDATES = [50, 200], [10, 50], 1000
SUBSETS = [100, 1000, 10000]
NAIVE = 20
console = Console(highlight=False, soft_wrap=True)


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What it gives, and the seconds it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def kernel(labeled: int) -> Tensor:
    """Tangent kernel (N, N) of a perceptron trained on the first `labeled` digits of the pool, labeled items first."""
    data = digits.split(0, 20)
    network = digits.train(data, list(range(labeled)), seed=0)
    engine = KernelEngine(network, dtype=torch.float64)
    return engine.gram(torch.from_numpy(data.pool[: labeled + CANDIDATES]).double())


def naive_seconds(gram: Tensor, labeled: int, batch: int) -> float:
    """Seconds per subset when each subset's whole matrix is decomposed."""
    generator = torch.Generator().manual_seed(0)
    subsets = [labeled + torch.randperm(CANDIDATES, generator=generator)[:batch] for _ in range(NAIVE)]

    def work() -> float:
        at = [torch.cat([torch.arange(labeled), subset]) for subset in subsets]
        return max(float(torch.linalg.eigvalsh(gram[rows][:, rows])[0]) for rows in at)

    work()
    return timed(work)[1] / NAIVE


def compare(gram: Tensor, labeled: int, batch: int) -> list[dict[str, Any]]:
    """Every search for one size. Seconds include the decomposition of K_LL and, for swaps, their start."""
    allowed, order = torch.ones(CANDIDATES, dtype=torch.bool), torch.arange(CANDIDATES)

    def bordered() -> Bordered:
        return Bordered(gram[:labeled, :labeled], gram[:labeled, labeled:], gram[labeled:, labeled:])

    def random(subsets: int) -> Picked:
        return random_search(bordered(), allowed, batch, subsets, torch.Generator().manual_seed(0), order)

    def greedy() -> Picked:
        return greedy_search(bordered(), allowed, batch, order)

    def swap(start: Callable[[], Picked]) -> Picked:
        return swap_search(bordered(), start().indices, allowed, order, SWAP_ROUNDS)

    searches: dict[str, Callable[[], Picked]] = {f"random, {s:,} subsets": lambda s=s: random(s) for s in SUBSETS}  # type: ignore[misc]
    searches |= {
        "greedy": greedy,
        "swap from greedy": lambda: swap(greedy),
        "swap from random, 100": lambda: swap(lambda: random(100)),
    }
    ceiling, naive = bordered().labeled_value, naive_seconds(gram, labeled, batch)
    rows = []
    for name, search in searches.items():
        picked, seconds = timed(search)
        rows.append(
            {
                "labeled": labeled,
                "batch": batch,
                "search": name,
                "smallest eigenvalue": picked.value,
                "of the labeled items alone": ceiling,
                "seconds": seconds,
                "subsets compared": picked.subsets,
                "naive seconds, extrapolated": naive * picked.subsets,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print one size."""
    first = rows[0]
    table = Table(
        "search",
        "λ_min",
        "share of λ_min(K_LL)",
        "seconds",
        "subsets compared",
        f"naive seconds, extrapolated from {NAIVE}",
        title=f"n = {first['labeled']}, Q = {first['batch']}, m = {CANDIDATES:,}",
    )
    for row in rows:
        value, ceiling = row["smallest eigenvalue"], row["of the labeled items alone"]
        table.add_row(
            row["search"],
            f"{value:.5g}",
            f"{value / ceiling:.1%}",
            f"{row['seconds']:.2f}",
            f"{row['subsets compared']:,}",
            f"{row['naive seconds, extrapolated']:.1f}",
        )
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    rows: list[dict[str, Any]] = []
    for labeled in LABELED:
        gram = kernel(labeled)
        for batch in BATCHES:
            found = compare(gram, labeled, batch)
            show(found)
            rows += found
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
