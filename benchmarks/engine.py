"""Kernel engines side by side: the pseudo-NTK of a perceptron and of ResNet-18, each engine in a process of its own.

`python -m benchmarks.engine` measures this project's engine and torch.func; `--python` names an interpreter whose
environment has the other engines too (`make bench-engine` makes one). Ratios are to this project's float32 engine.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import problem
from ntk.kernels import KernelEngine
from ntk.memory import keep_freed_memory

Tensor = torch.Tensor
OURS = ["lookahead:float32", "lookahead:float64"]
OWN_PEERS = ["torch.func", "torch.func-layers"]
PEERS = {
    "mlp": ["neural-tangents:1", "neural-tangents:2", "bmdal_reg", "asdl", "backpack"],
    "resnet18": ["asdl"],
}
SECONDS_MAX = 400
console = Console(highlight=False, soft_wrap=True)


def measure(python: str, engine: str, network: str, items: int, repeats: int) -> dict[str, Any]:
    """One engine's figures, or why there are none."""
    command = [python, "-m", "benchmarks.engines", "--engine", engine, "--network", network]
    command += ["--items", str(items), "--repeats", str(repeats)]
    root = Path(__file__).parent.parent
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"engine": engine, "failed": f"more than {SECONDS_MAX} s"}
    if done.returncode != 0:
        return {"engine": engine, "failed": (done.stderr.strip().splitlines() or ["killed"])[-1][:100]}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def side_by_side(python: str, network: str, items: int, engines: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """A table of engines on one problem."""
    table = Table("engine", "seconds", "times ours", "extra memory", "largest error", title=f"{network}, N = {items}")
    rows: list[dict[str, Any]] = []
    for engine in engines:
        row = measure(python, engine, network, items, repeats)
        rows.append(row)
        if "failed" in row:
            table.add_row(engine, row["failed"], "", "", "")
            continue
        ratio = row["seconds"] / rows[0]["seconds"]
        memory = f"{row['memory'] / 2**30:.2f} GiB"
        table.add_row(engine, f"{row['seconds']:.3g}", f"{ratio:.2f}", memory, f"{row['error']:.1e}")
    console.print(table)
    return rows


def matrix_rate() -> float:
    """The machine's best float32 matrix product, in operations per second."""
    best = 0.0
    a, b = torch.randn(2, 2048, 2048)
    products: list[Callable[[], Tensor]] = [
        lambda: a @ b.mT,
        lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
    ]
    for product in products:
        for _ in range(5):
            start = time.perf_counter()
            product()
            best = max(best, 2 * 2048**3 / (time.perf_counter() - start))
    return best


def _linear_flops(a: Any, b: Any, *_: Any, **__: Any) -> int:
    return 2 * int(a[0]) * int(a[1]) * int(b[0])


def floor(network: str, items: int) -> dict[str, float]:
    """Operations executed in matrix products and convolutions, and the time the machine would need at its best."""
    keep_freed_memory()
    torch.set_num_threads(2)
    module, x = problem(network, items)
    engine = KernelEngine(module, precision="float32", memory_bytes=4 << 30)
    engine.gram(x)
    seconds = float("inf")
    for _ in range(3 if network == "resnet18" else 10):
        start = time.perf_counter()
        engine.gram(x)
        seconds = min(seconds, time.perf_counter() - start)
    formulas = {torch.ops.mkldnn._linear_pointwise: _linear_flops}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        engine.gram(x)
    rate = matrix_rate()
    flops = float(counter.get_total_flops())
    return {"operations": flops, "rate": rate, "floor": flops / rate, "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the other engines")
    parser.add_argument("--network", choices=["mlp", "resnet18"], action="append")
    parser.add_argument("--items", type=int, help="instead of 1,000 for the perceptron, 256 and 1,000 for ResNet-18")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    peers = options.python != sys.executable
    figures: dict[str, Any] = {}
    for network in options.network or ["mlp", "resnet18"]:
        size = options.items or (1000 if network == "mlp" else 256)
        engines = [*OURS, *OWN_PEERS, *(PEERS[network] if peers else [])]
        figures[f"{network} {size}"] = side_by_side(
            options.python, network, size, engines, 5 if network == "mlp" else 2
        )
        if network == "resnet18" and options.items is None:
            for larger in (512, 1000):
                figures[f"{network} {larger}"] = side_by_side(options.python, network, larger, OURS[:1], 1)
        found = floor(network, size)
        figures[f"{network} floor"] = found
        console.print(
            f"{network}, N = {size}: {found['operations'] / 1e9:.0f} billion operations in products and convolutions; "
            f"at the machine's {found['rate'] / 1e9:.0f} billion a second they would take {found['floor']:.3f} s; "
            f"measured {found['seconds']:.3f} s: {found['floor'] / found['seconds']:.0%} of it."
        )
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
