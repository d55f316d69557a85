"""The instruments of one worker process. Tests read them; the publisher sends them to whoever is scraped."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import torch
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

_SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
_AGES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


@dataclass(frozen=True)
class WarmState:
    """What is told of one live state."""

    nbytes: int
    condition: float
    jitter: float
    labeled: int = 0
    kernel: str = ""


class Instruments:
    """Counters and histograms of a worker's jobs, and what stands of its live states.

    No label names an item or an annotator; projects appear only as long as they are warm here, which memory bounds.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.job_seconds = Histogram(
            "lookahead_job_seconds",
            "Time from taking a job to its end: succeeded, failed, cancelled, or put_back by a stop",
            ["kind", "outcome"],
            buckets=_LONG,
            registry=registry,
        )
        self.job_wait_seconds = Histogram(
            "lookahead_job_wait_seconds",
            "Time from making a job to taking it for the first time",
            ["queue"],
            buckets=_LONG,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "lookahead_suggest_stage_seconds",
            "Time of each stage of a suggestion, by the family of its strategy",
            ["family", "stage"],
            buckets=_SHORT,
            registry=registry,
        )
        self.label_to_suggestion_seconds = Histogram(
            "lookahead_label_to_suggestion_seconds",
            "Age of the newest label that a suggestion is the first to know, when the suggestion is stored",
            buckets=_AGES,
            registry=registry,
        )
        self.updates = Counter(
            "lookahead_label_updates",
            "Labels worked into live states: append (a factor row, rank one), relabel (right-hand side), withdraw",
            ["change"],
            registry=registry,
        )
        self.refreshes = Counter(
            "lookahead_covariance_refreshes",
            "Covariances computed anew from the factor, because of drift or of many labels at once",
            registry=registry,
        )
        self.load_seconds = Histogram(
            "lookahead_state_load_seconds",
            "Time to rebuild a live state from the database and the artifacts",
            buckets=_LONG,
            registry=registry,
        )
        self.evictions = Counter(
            "lookahead_state_evictions",
            "Live states dropped: memory, replaced, elsewhere, overtaken (by another worker), failed, database",
            ["reason"],
            registry=registry,
        )
        self.retries = Counter(
            "lookahead_retries",
            "Suggestions chosen again because another request was first: stale_state, or leased_meanwhile",
            ["reason"],
            registry=registry,
        )
        self.warm: dict[int, WarmState] = {}  # by project
        registry.register(_Warm(self))

    def kept(self, project_id: int, state: WarmState) -> None:
        """A live state is in memory, and stands like this."""
        self.warm[project_id] = state

    def dropped(self, project_id: int, reason: str) -> None:
        """A live state is in memory no more."""
        self.warm.pop(project_id, None)
        self.evictions.labels(reason).inc()

    def worked_in(self, *, appended: int, relabeled: int, withdrawn: int, refreshed: int) -> None:
        """Count what catching up with the label log took."""
        for change, count in (("append", appended), ("relabel", relabeled), ("withdraw", withdrawn)):
            self.updates.labels(change).inc(count)
        self.refreshes.inc(refreshed)


class _Warm(Collector):
    """Live states as they stood after the last job."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families without values."""
        yield from self._families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families with values."""
        count, nbytes, condition, jitter, each, labeled = self._families()
        warm = dict(self._instruments.warm)  # one step: the threads of jobs change it
        count.add_metric([], len(warm))
        nbytes.add_metric([], sum(state.nbytes for state in warm.values()))
        for project_id, state in warm.items():
            condition.add_metric([str(project_id)], state.condition)
            jitter.add_metric([str(project_id)], state.jitter)
            each.add_metric([str(project_id), state.kernel], state.nbytes)
            labeled.add_metric([str(project_id), state.kernel], state.labeled)
        yield from (count, nbytes, condition, jitter, each, labeled)

    def _families(self) -> tuple[GaugeMetricFamily, ...]:
        project, kernel = ["project_id"], ["project_id", "kernel"]
        return (
            GaugeMetricFamily("lookahead_warm_states", "Live states kept in memory"),
            GaugeMetricFamily("lookahead_warm_state_bytes", "Memory that live states hold, on the device and beside"),
            GaugeMetricFamily(
                "lookahead_kernel_condition",
                "Lower bound of the condition number of the factored matrix of a warm project",
                labels=project,
            ),
            GaugeMetricFamily(
                "lookahead_kernel_jitter", "What the diagonal of a warm project's matrix needed", labels=project
            ),
            GaugeMetricFamily(
                "lookahead_warm_project_bytes", "Memory that a warm project's live state holds", labels=kernel
            ),
            GaugeMetricFamily("lookahead_warm_project_labels", "Labels in a warm project's live state", labels=kernel),
        )


class Device(Collector):
    """The worker's name and device, and the GPU memory that torch holds."""

    def __init__(self, name: str, queues: str, device: torch.device) -> None:
        self._labels = {
            "worker": name,
            "queues": queues,
            "device": str(device),
            "version": version("lookahead"),
            "host": platform.node(),
        }
        self._device = device

    def describe(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """The families without values."""
        yield from (self._info(), self._memory())

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        """The families with values; GPU memory where there is a GPU."""
        info = self._info()
        info.add_metric([], self._labels)
        yield info
        if self._device.type == "cuda":
            memory = self._memory()
            memory.add_metric(["allocated"], torch.cuda.memory_allocated(self._device))
            memory.add_metric(["reserved"], torch.cuda.memory_reserved(self._device))
            yield memory

    def _info(self) -> InfoMetricFamily:
        return InfoMetricFamily("lookahead_worker", "What a worker is: its name in logs and jobs, queues and device")

    def _memory(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("lookahead_gpu_memory_bytes", "GPU memory of torch in this process", labels=["kind"])
