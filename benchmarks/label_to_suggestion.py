"""From a label sent to the next suggestion received, over HTTP: median, 95th percentile, and where the time goes.

    python -m benchmarks.label_to_suggestion

The service, its workers, PostgreSQL and Valkey are started for it on this machine. The pool is a mixture of
Gaussians, the network a small perceptron: what counts here are the sizes.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save
from torch import nn

from client.sdk import Client
from embedded.supervisor import Supervisor

CLASSES, FEATURES, HIDDEN = 10, 64, [256, 256]
STAGES = ["catch_up", "score", "why", "store"]
console = Console(highlight=False, soft_wrap=True)


def measure(client: Client, candidates: int, labels: int, repeats: int) -> list[dict[str, float]]:
    """Milliseconds by part, for every repetition."""
    random = np.random.default_rng(0)
    items = candidates + labels + repeats
    classes = random.integers(CLASSES, size=items)
    centres = random.normal(size=(CLASSES, FEATURES))
    x = (centres[classes] + random.normal(size=(items, FEATURES))).astype(np.float32)
    ids = [f"item-{k}" for k in range(items)]
    names = [str(k) for k in range(CLASSES)]
    client.create_project("bench", names, kernel={"window": candidates + repeats})
    client.upload_pool("bench", x, ids)
    client.labels("bench", [(ids[k], names[classes[k]]) for k in range(labels)])
    torch.manual_seed(0)
    widths = [FEATURES, *HIDDEN]
    layers: list[nn.Module] = [nn.Flatten()]
    for width_in, width_out in zip(widths, HIDDEN, strict=False):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], CLASSES))
    started = time.perf_counter()
    client.wait_for(client.upload_checkpoint("bench", save(network.state_dict()), "mlp", {"hidden": HIDDEN}))
    prepared = time.perf_counter()
    item = client.suggest("bench").suggestions[0].item
    console.print(
        f"prepared in {prepared - started:.1f} s, first suggestion {time.perf_counter() - prepared:.1f} s after"
    )
    rows = []
    for _ in range(repeats):
        row = int(item.rpartition("-")[2])
        sent = time.perf_counter()
        client.label("bench", item, names[classes[row]])
        labeled = time.perf_counter()
        answer = client.suggest("bench")
        received = time.perf_counter()
        parts = {f"worker: {stage}": answer.timings[stage] for stage in sorted(answer.timings, key=_in_order)}
        whole = 1000 * (received - labeled)
        rows.append(
            {
                "label to suggestion": 1000 * (received - sent),
                "POST /label": 1000 * (labeled - sent),
                "POST /suggest": whole,
                **parts,
                "HTTP, queue and hand-over": whole - sum(parts.values()),
            }
        )
        item = answer.suggestions[0].item
    return rows


def _in_order(stage: str) -> int:
    """The order in which a worker goes through its stages; ones that are new here come last."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def report(rows: list[dict[str, float]], title: str) -> dict[str, Any]:
    """Print a table; returns median and 95th percentile by part."""
    table = Table("part", "median ms", "95th percentile ms", title=title)
    summary = {}
    for part in rows[0]:
        values = sorted(row[part] for row in rows)
        median, high = statistics.median(values), values[int(0.95 * len(values))]
        summary[part] = {"median_ms": round(median, 2), "p95_ms": round(high, 2)}
        table.add_row(part, f"{median:.1f}", f"{high:.1f}")
    console.print(table)
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--candidates", type=int, default=4000)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="lookahead-bench-") as folder:
        Path(folder).chmod(0o755)
        with Supervisor(Path(folder), port=0) as service, Client(service.url) as client:
            rows = measure(client, options.candidates, options.labels, options.repeats)
    title = f"{options.candidates} candidates, {options.labels} labels, {os.cpu_count()} cores ({platform.machine()})"
    summary = report(rows, title)
    if options.out:
        options.out.write_text(json.dumps({"setting": title, "parts": summary}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
