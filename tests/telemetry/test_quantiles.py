"""Quantiles of merged histograms against the samples themselves."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram

from telemetry.quantiles import histogram
from telemetry.snapshots import merged

BOUNDS = [0.01 * k for k in range(1, 101)]


def test_quantiles_of_all_processes_together() -> None:
    random = np.random.default_rng(0)
    parts = [random.uniform(0, 0.4, size=300), random.uniform(0.2, 1.0, size=700)]
    families = []
    for number, samples in enumerate(parts):
        registry = CollectorRegistry()
        measured = Histogram("lookahead_seconds", "Seconds", ["route"], buckets=BOUNDS, registry=registry)
        for sample in samples:
            measured.labels("/a").observe(sample)
        measured.labels("/b").observe(50.0)
        families.append((f"process-{number}", list(registry.collect())))
    found = histogram(merged(families), "lookahead_seconds", route="/a")
    assert found.count == 1000
    for share in (0.1, 0.5, 0.9, 0.99):
        # Within a bucket's width of the sorted samples.
        assert found.quantile(share) == pytest.approx(np.quantile(np.concatenate(parts), share), abs=0.011)


def test_the_edges() -> None:
    registry = CollectorRegistry()
    measured = Histogram("lookahead_seconds", "Seconds", buckets=(1, 2), registry=registry)
    assert histogram(registry.collect(), "lookahead_seconds").quantile(0.5) is None
    assert histogram([], "lookahead_seconds").quantile(0.5) is None
    measured.observe(1.5)
    assert histogram(registry.collect(), "lookahead_seconds").quantile(0.5) == pytest.approx(1.5)
    # Nothing is known of what lies beyond the last bound.
    measured.observe(100)
    measured.observe(100)
    assert histogram(registry.collect(), "lookahead_seconds").quantile(0.99) == 2
