"""Metrics of all processes in one answer: each process publishes its own to Redis, whoever is asked merges them."""

import itertools
import json
import logging
import threading
import uuid
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
KEPT_SECONDS = 15
_INDEX = "lookahead:metrics"


def encoded(registry: CollectorRegistry) -> str:
    """What a registry holds, as JSON."""
    return json.dumps(
        [
            [family.name, family.type, family.documentation, [[s.name, s.labels, s.value] for s in family.samples]]
            for family in registry.collect()
        ],
        separators=(",", ":"),
    )


def decoded(text: str | bytes) -> list[Metric]:
    """The families of a snapshot."""
    families = []
    for name, kind, documentation, samples in json.loads(text):
        family = Metric(name, documentation, kind)
        for sample, labels, value in samples:
            family.add_sample(sample, labels, value)
        families.append(family)
    return families


def merged(parts: Iterable[tuple[str, Iterable[Metric]]]) -> list[Metric]:
    """One family per name, with the process as a label of every sample."""
    found: dict[str, Metric] = {}
    for process, families in parts:
        for family in families:
            known = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            if known.type != family.type:
                continue  # a process of another version: what it means by this name cannot be added
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    known.add_sample(sample.name, {"process": process, **sample.labels}, sample.value)
    return list(found.values())


def exposition(families: Sequence[Metric]) -> bytes:
    """Prometheus text."""

    class Given(Collector):
        def collect(self) -> Iterable[Metric]:
            return families

    registry = CollectorRegistry()
    registry.register(Given())
    return generate_latest(registry)


class Publisher:
    """Publishes one process's registry every two seconds, under a short name that no other process has.

    Names are a role and the lowest number that is free, so that a process that takes another's place goes on with its
    series. Everything in Redis expires by itself; a Redis that was wiped is filled again with the next snapshot.
    """

    def __init__(self, redis: Redis, role: str, registry: CollectorRegistry) -> None:
        self._redis = redis
        self._role = role
        self._registry = registry
        self._token = uuid.uuid4().hex.encode()
        self._name: str | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The process's name in metrics: its role alone as long as Redis has not been reached."""
        return self._name or self._role

    def publish(self) -> None:
        """Write one snapshot. Raises RedisError."""
        name = self._name = self._claimed()
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(_snapshot(name), encoded(self._registry), ex=KEPT_SECONDS)
        pipeline.sadd(_INDEX, name)
        pipeline.execute()

    def others(self) -> list[tuple[str, list[Metric]]]:
        """(name, families) of every other process that lives. Raises RedisError."""
        known = {_text(name) for name in self._redis.smembers(_INDEX)}
        names = sorted(known - {self._name})
        if not names:
            return []
        texts = self._redis.mget([_snapshot(name) for name in names])
        if gone := [name for name, text in zip(names, texts, strict=True) if text is None]:
            self._redis.srem(_INDEX, *gone)
        return [(name, decoded(text)) for name, text in zip(names, texts, strict=True) if text is not None]

    def everything(self) -> list[Metric]:
        """This process's metrics as they are, and the others' last snapshots where Redis can be reached."""
        try:
            others = self.others()
        except RedisError:
            others = []
        return merged([(self.name, self._registry.collect()), *others])

    def ages(self) -> dict[str, float]:
        """Seconds since every process that lives published its last snapshot, by name. Raises RedisError."""
        names = sorted(_text(name) for name in self._redis.smembers(_INDEX))
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            # What is left of its time: no clock is compared with another.
            pipeline.pttl(_snapshot(name))
        left = dict(zip(names, pipeline.execute(), strict=True))
        return {name: max(0.0, KEPT_SECONDS - left[name] / 1000) for name in names if left[name] >= 0}

    def start(self) -> None:
        """Publish in the background until `stop`."""

        def loop() -> None:
            reached = True
            while True:
                try:
                    self.publish()
                    reached = True
                except RedisError as error:
                    if reached:
                        log.warning("metrics cannot be published, trying on: %s", error)
                    reached = False
                if self._stopping.wait(EVERY_SECONDS):
                    return

        self._thread = threading.Thread(target=loop, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and give the name back."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(EVERY_SECONDS)
        if self._name is None:
            return
        try:
            self._redis.delete(_snapshot(self._name), _owner(self._name))
            self._redis.srem(_INDEX, self._name)
        except RedisError:
            pass  # it expires

    def _claimed(self) -> str:
        if self._name is not None and self._holds(self._name):
            return self._name
        for number in itertools.count(1):
            name = f"{self._role}-{number}"
            if self._redis.set(_owner(name), self._token, nx=True, ex=KEPT_SECONDS):
                return name
        raise AssertionError("unreachable")

    def _holds(self, name: str) -> bool:
        # Missing after Redis was wiped: the name is ours again unless somebody else was faster.
        if self._redis.set(_owner(name), self._token, nx=True, ex=KEPT_SECONDS):
            return True
        if self._redis.get(_owner(name)) != self._token:
            return False
        self._redis.expire(_owner(name), KEPT_SECONDS)
        return True


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _snapshot(name: str) -> str:
    return f"{_INDEX}:{name}"


def _owner(name: str) -> str:
    return f"{_INDEX}:{name}:owner"
