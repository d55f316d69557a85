"""Workers, queues and latencies: registrations in Redis, published metrics, and what the database says."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from prometheus_client import Metric
from redis import Redis
from redis.exceptions import RedisError
from rq.worker_registration import REDIS_WORKER_KEYS

from api_schemas import workers as wire
from service.caller import Caller
from service.context import Context
from service.problems import UnavailableError
from store import jobs
from store.jobs import Group
from store.tables import Job, Project
from telemetry.quantiles import histogram
from telemetry.snapshots import Publisher
from worker import identity, queue

_KEY_PREFIX = "rq:worker:"
_HTTP = "lookahead_http_request_seconds"


@dataclass(frozen=True)
class _Registered:
    """A worker as the queue's library has it."""

    queues: list[str]
    silent_seconds: float


@dataclass
class _Published:
    """What a worker process says of itself in its metrics."""

    process: str
    info: dict[str, str]
    age: float
    memory: float | None = None
    warm: dict[tuple[int, str], dict[str, float]] = field(default_factory=lambda: defaultdict(dict))


@dataclass(frozen=True)
class Seen:
    """Everything, before anybody's rights are applied."""

    answer: wire.Workers
    projects: dict[str, str]  # by job: of which project it is

    def by(self, caller: Caller) -> wire.Workers:
        """What a caller may know of it: other tenants' projects have no names."""
        if caller.projects is None:
            return self.answer
        workers = [
            worker.model_copy(
                update={
                    "warm": [warm for warm in worker.warm if caller.sees(warm.project)],
                    "job": worker.job if caller.sees(self.projects.get(worker.job or "", "")) else None,
                }
            )
            for worker in self.answer.workers
        ]
        return self.answer.model_copy(update={"workers": workers})


def show(context: Context, publisher: Publisher) -> wire.Workers:
    """What the caller may know. Raises UnavailableError `queue_unavailable`."""
    try:
        return look(context, publisher).by(context.caller)
    except RedisError as error:
        raise UnavailableError(
            "queue_unavailable", "the queue's server cannot be reached: try again", headers={"Retry-After": "2"}
        ) from error


def look(context: Context, publisher: Publisher) -> Seen:
    """All workers that live, whatever they work on. Raises RedisError."""
    families = publisher.everything()
    published = _published(families, publisher.ages())
    registered = _registered(context.redis)
    names = [name for name in sorted(published.keys() | registered.keys()) if not identity.is_dead(name)]
    with context.sessions.begin() as session:
        running = session.execute(
            sa.select(Job.worker, Job.id, Project.name)
            .join(Project, Project.id == Job.project_id)
            .where(Job.status == "running", Project.deleted_at.is_(None))
            .order_by(Job.started_at.desc())
        ).all()
        ids = {project_id for name in published for project_id, _ in published[name].warm}
        warm = sa.select(Project.id, Project.name).where(Project.id.in_(ids), Project.deleted_at.is_(None))
        rows = session.execute(warm)
        projects: dict[int, str] = {row[0]: row[1] for row in rows}
        standing = jobs.standing(session)
    # The last of several is the one that began first.
    busy = {row[0]: row[1] for row in running}
    workers = [_worker(name, published.get(name), registered.get(name), busy.get(name), projects) for name in names]
    answer = wire.Workers(workers=workers, queues=_queues(workers, standing), latencies=_latencies(families))
    return Seen(answer, {row[1]: row[2] for row in running})


def _registered(redis: Redis) -> dict[str, _Registered]:
    """Workers by name, without those that have been missed for longer than the queue waits."""
    keys = sorted(_text(key) for key in redis.smembers(REDIS_WORKER_KEYS))
    pipeline = redis.pipeline(transaction=False)
    for key in keys:
        pipeline.hmget(key, ["queues", "last_heartbeat"])
    found = {}
    for key, (queues, heartbeat) in zip(keys, pipeline.execute(), strict=True):
        if queues is not None:
            found[key.removeprefix(_KEY_PREFIX)] = _Registered(_text(queues).split(","), _since(heartbeat))
    return found


def _since(heartbeat: bytes | None) -> float:
    """Seconds by this machine's clock; only asked of workers that have published nothing."""
    try:
        then = datetime.fromisoformat(_text(heartbeat or b"").replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (datetime.now(UTC) - then).total_seconds())


def _published(families: Iterable[Metric], ages: dict[str, float]) -> dict[str, _Published]:
    """Workers by name."""
    of = {family.name: family for family in families}
    found: dict[str, _Published] = {}
    for sample in _samples(of, "lookahead_worker"):
        process = sample.labels["process"]
        if process in ages:
            found[process] = _Published(process, sample.labels, ages[process])
    for sample in _samples(of, "process_resident_memory_bytes"):
        if worker := found.get(sample.labels["process"]):
            worker.memory = sample.value
    for name in ("lookahead_warm_project_bytes", "lookahead_warm_project_labels"):
        for sample in _samples(of, name):
            if worker := found.get(sample.labels["process"]):
                worker.warm[int(sample.labels["project_id"]), sample.labels["kernel"]][name] = sample.value
    return {worker.info["worker"]: worker for worker in found.values()}


def _samples(families: dict[str, Metric], name: str) -> Sequence[Any]:
    return families[name].samples if name in families else ()


def _worker(
    name: str,
    published: _Published | None,
    registered: _Registered | None,
    job: str | None,
    projects: dict[int, str],
) -> wire.Worker:
    queues = registered.queues if registered else []
    if published is None:
        assert registered is not None
        return wire.Worker(
            name=name,
            process=None,
            host=None,
            device=None,
            queues=queues,
            state="busy" if job else "idle",
            job=job,
            heartbeat_seconds=round(registered.silent_seconds, 1),
            warm=[],
            memory_bytes=None,
        )
    return wire.Worker(
        name=name,
        process=published.process,
        host=published.info["host"],
        device=published.info["device"],
        queues=queues or published.info["queues"].split(","),
        state="busy" if job else "idle",
        job=job,
        heartbeat_seconds=round(published.age, 1),
        warm=[
            wire.WarmProject(
                project=projects[project_id],
                kernel=kernel,
                bytes=int(figures.get("lookahead_warm_project_bytes", 0)),
                labeled=int(figures.get("lookahead_warm_project_labels", 0)),
            )
            for (project_id, kernel), figures in sorted(published.warm.items())
            if project_id in projects
        ],
        memory_bytes=None if published.memory is None else int(published.memory),
    )


def _queues(workers: Sequence[wire.Worker], standing: Sequence[Group]) -> list[wire.Queue]:
    queued = [group for group in standing if group.status == "queued"]
    return [
        wire.Queue(
            name=name,
            waiting=sum(group.count for group in queued if group.queue == name),
            oldest_seconds=round(max((g.oldest_seconds for g in queued if g.queue == name), default=0.0), 1),
            workers=sum(name in worker.queues for worker in workers),
        )
        for name in sorted({*queue.QUEUES, *(group.queue for group in queued)})
    ]


def _latencies(families: Sequence[Metric]) -> list[wire.Latency]:
    found = {
        "label_to_suggestion": histogram(families, "lookahead_label_to_suggestion_seconds"),
        "suggest": histogram(families, _HTTP, method="POST", route="/suggest"),
        "label": histogram(families, _HTTP, method="POST", route="/label"),
    }
    return [
        wire.Latency.model_validate(
            {"what": what, "count": one.count}
            | {name: one.quantile(share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}
        )
        for what, one in found.items()
    ]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
