"""Quantiles from the histograms of several processes."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import Metric


@dataclass(frozen=True)
class Histogram:
    """Counts of samples up to each bound, all processes together."""

    buckets: Mapping[float, float]  # cumulative, by upper bound; the last bound is infinite

    @property
    def count(self) -> int:
        """Samples."""
        return int(self.buckets.get(math.inf, 0))

    def quantile(self, share: float) -> float | None:
        """The value that this share of samples does not exceed, as if each bucket were filled evenly.

        None without samples; the highest finite bound where the quantile lies above all of them.
        """
        wanted = share * self.count
        low, before = 0.0, 0.0
        if not self.count:
            return None
        for bound, counted in sorted(self.buckets.items()):
            if counted >= wanted and counted > before:
                return low if math.isinf(bound) else low + (bound - low) * (wanted - before) / (counted - before)
            if not math.isinf(bound):
                low, before = bound, counted
        return low


def histogram(families: Iterable[Metric], name: str, **labels: str) -> Histogram:
    """The histogram of that name over all processes, of the samples that have these labels."""
    buckets: Counter[float] = Counter()
    for family in families:
        if family.name != name:
            continue
        for sample in family.samples:
            if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
                buckets[float(sample.labels["le"])] += sample.value  # type: ignore[assignment]
    return Histogram(dict(buckets))
