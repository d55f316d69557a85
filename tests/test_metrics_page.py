"""docs/metrics.md and the registries tell of the same metrics."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics import MetricWrapperBase

from telemetry.gauges import watch_process
from worker.metrics import Device, Instruments

PAGE = (Path(__file__).parent.parent / "docs/metrics.md").read_text()
ROW = re.compile(r"^\| `((?:lookahead|process)_\w+)` \| (\w+) \|([\w, ]*)\|", re.MULTILINE)


def listed() -> dict[str, tuple[str, set[str]]]:
    return {name: (kind, set(filter(None, re.split(r"[, ]+", labels)))) for name, kind, labels in ROW.findall(PAGE)}


def registered(registries: Iterable[CollectorRegistry]) -> dict[str, tuple[str, set[str]]]:
    """Every family with its type and labels, whether it has samples or not."""
    found: dict[str, tuple[str, set[str]]] = {}
    for registry in registries:
        for collector in registry._collector_to_names:
            families: Iterable[Metric] = collector.describe() if hasattr(collector, "describe") else collector.collect()
            for family in families:
                names = collector._labelnames if isinstance(collector, MetricWrapperBase) else ()
                # Families of gauges know their labels before they have samples.
                names = names or getattr(family, "_labelnames", ())
                found[family.name] = (family.type, set(names))
    return found


def test_the_page_and_the_registries_agree(app: FastAPI) -> None:
    worker = Instruments()
    worker.registry.register(Device("host-1", "bulk", torch.device("cpu")))
    watch_process(worker.registry, connections=dict, disk_free=lambda: None)
    measured = app.state.metrics
    actual = registered([measured.standing, measured.registry, worker.registry])
    actual["lookahead_worker"] = ("info", set(next(iter(_collected(worker.registry, "lookahead_worker"))).labels))
    assert listed() == actual


def _collected(registry: CollectorRegistry, name: str) -> list[Any]:
    return [sample for family in registry.collect() if family.name == name for sample in family.samples]


def test_every_metric_named_in_an_expression_exists() -> None:
    names = set(listed())
    used = set(re.findall(r"\b(lookahead_\w+?)(?:_total|_bucket|_sum|_count|_info)?\b(?=[\[{ )>=]|`)", PAGE))
    assert used <= names, used - names
