"""From a label sent to the next suggestion received, over HTTP: by how many candidates, labels and annotators.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Setting:
    """How much there is, and how many ask."""

    candidates: int
    labels: int
    annotators: int
    repeats: int  # of each annotator

    @property
    def title(self) -> str:
        """For tables."""
        who = "1 annotator" if self.annotators == 1 else f"{self.annotators} annotators"
        return f"{self.candidates:,} candidates, {self.labels:,} labels, {who}"


def prepare(client: Client, setting: Setting) -> list[str]:
    """A project with labels and a prepared checkpoint; returns the true class of every item."""
    random = np.random.default_rng(0)
    asked = setting.annotators * (setting.repeats + 1)
    items = setting.candidates + setting.labels + asked
    classes = random.integers(CLASSES, size=items)
    centres = random.normal(size=(CLASSES, FEATURES))
    x = (centres[classes] + random.normal(size=(items, FEATURES))).astype(np.float32)
    ids = [f"item-{k}" for k in range(items)]
    names = [str(k) for k in range(CLASSES)]
    client.create_project("bench", names, kernel={"window": setting.candidates + asked})
    client.upload_pool("bench", x, ids)
    client.labels("bench", [(ids[k], names[classes[k]]) for k in range(setting.labels)])
    torch.manual_seed(0)
    widths = [FEATURES, *HIDDEN]
    layers: list[nn.Module] = [nn.Flatten()]
    for width_in, width_out in zip(widths, HIDDEN, strict=False):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], CLASSES))
    started = time.perf_counter()
    client.wait_for(client.upload_checkpoint("bench", save(network.state_dict()), "mlp", {"hidden": HIDDEN}))
    prepared = time.perf_counter()
    client.suggest("bench", lease_seconds=0)
    console.print(
        f"prepared in {prepared - started:.1f} s, first suggestion {time.perf_counter() - prepared:.1f} s after"
    )
    return [names[k] for k in classes]


def annotate(url: str, name: str, truth: list[str], repeats: int) -> list[dict[str, float]]:
    """Label what is suggested, again and again; milliseconds by part, for every repetition."""
    rows = []
    with Client(url) as client:
        item = client.suggest("bench", annotator=name).suggestions[0].item
        for _ in range(repeats):
            row = int(item.rpartition("-")[2])
            sent = time.perf_counter()
            client.label("bench", item, truth[row], annotator=name)
            labeled = time.perf_counter()
            answer = client.suggest("bench", annotator=name)
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


def measure(url: str, setting: Setting) -> list[dict[str, float]]:
    """What every annotator saw, in the order of their repetitions."""
    with Client(url) as client:
        truth = prepare(client, setting)
    with ThreadPoolExecutor(setting.annotators) as pool:
        work = [
            pool.submit(annotate, url, f"annotator-{which}", truth, setting.repeats)
            for which in range(setting.annotators)
        ]
        each = [future.result() for future in work]
    return [row for together in zip(*each, strict=True) for row in together]


def _in_order(stage: str) -> int:
    """The order in which a worker goes through its stages; ones that are new here come last."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def report(rows: list[dict[str, float]], title: str) -> dict[str, Any]:
    """Print a table; returns median, 95th and 99th percentile by part, and how the last third compares."""
    table = Table("part", "median ms", "95th percentile ms", "99th percentile ms", title=title)
    summary: dict[str, Any] = {}
    for part in rows[0]:
        values = sorted(row[part] for row in rows)
        figures = [statistics.median(values), *(values[int(share * len(values))] for share in (0.95, 0.99))]
        summary[part] = dict(zip(("median_ms", "p95_ms", "p99_ms"), (round(v, 2) for v in figures), strict=True))
        table.add_row(part, *(f"{value:.1f}" for value in figures))
    console.print(table)
    third = len(rows) // 3
    first, last = (
        statistics.median(row["label to suggestion"] for row in part) for part in (rows[:third], rows[-third:])
    )
    summary["last third against the first"] = round(last / first, 3)
    console.print(f"median of the last third of requests against the first: {last / first:.2f}")
    return summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--candidates", type=int, nargs="+", default=[4000])
    parser.add_argument("--labels", type=int, nargs="+", default=[1000])
    parser.add_argument("--annotators", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=100, help="of each setting, shared by its annotators")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args(arguments)
    settings = [
        Setting(candidates, labels, annotators, max(3, options.repeats // annotators))
        for candidates in options.candidates
        for labels in options.labels
        for annotators in options.annotators
    ]
    machine = f"{os.cpu_count()} cores ({platform.machine()})"
    summaries = {}
    for setting in settings:
        with tempfile.TemporaryDirectory(prefix="lookahead-bench-") as folder:
            Path(folder).chmod(0o755)
            with Supervisor(Path(folder), port=0) as service:
                rows = measure(service.url, setting)
        summaries[setting.title] = report(rows, f"{setting.title}, {machine}")
        if options.out:
            options.out.write_text(json.dumps({"machine": machine, "settings": summaries}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
