"""Gauges that are read at the moment they are asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Values = Mapping[str, float] | float | None


@dataclass(frozen=True)
class Reading:
    """A gauge and what to ask for its value: one number, one per value of `label`, or None while there is none."""

    name: str
    meaning: str
    read: Callable[[], Values]
    label: str | None = None


class Readings(Collector):
    """Collects readings; one that has no value is left out."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = list(readings)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The gauges without values: registering reads nothing."""
        return (_family(reading) for reading in self._readings)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges with their values of now."""
        for reading in self._readings:
            found, family = reading.read(), _family(reading)
            if found is None:
                continue
            if isinstance(found, Mapping):
                for value, number in found.items():
                    family.add_metric([value], number)
            else:
                family.add_metric([], found)
            yield family


def _family(reading: Reading) -> GaugeMetricFamily:
    labels = [] if reading.label is None else [reading.label]
    return GaugeMetricFamily(reading.name, reading.meaning, labels=labels)


def watch_process(
    registry: CollectorRegistry,
    *,
    connections: Callable[[], Mapping[str, float]],
    disk_free: Callable[[], float | None],
) -> None:
    """What every process tells of itself: processor time, memory, open files, connections, and the artifacts' disk."""
    ProcessCollector(registry=registry)
    registry.register(
        Readings(
            [
                Reading(
                    "lookahead_database_connections",
                    "Connections to PostgreSQL in this process's pool: in use, or idle",
                    connections,
                    "state",
                ),
                Reading(
                    "lookahead_artifacts_free_bytes",
                    "Free bytes on the disk that artifacts lie on; left out where they lie in a bucket",
                    disk_free,
                ),
            ]
        )
    )
