"""Which worker keeps a project warm, and that worker's inbox. Redis only: the service uses it too.

A worker that has a project's live state in memory holds a short lease on the project and renews it while it lives.
Requests for the project go straight to that worker's inbox; without a lease they go to the common queue, and whoever
takes them there becomes the holder. Nothing here is truth: a lost lease costs a reload, a lost message is found
again in Postgres.
"""

from collections.abc import Iterable, Sequence

from redis import Redis

LEASE_SECONDS = 5
RENEW_SECONDS = 1.0
_INBOX_KEPT_SECONDS = 60
_TAKEN_AT_ONCE = 64
# In the place of a job's id: labels have arrived for the project.
LABELS = "labels"

_RING = """
local holder = redis.call('GET', KEYS[1])
if not holder then return false end
local inbox = ARGV[1] .. holder
redis.call('RPUSH', inbox, ARGV[2])
redis.call('EXPIRE', inbox, ARGV[3])
return holder
"""
_RENEW = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""
_LET_GO = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def ring(redis: Redis, project_id: int, job_id: str) -> str | None:
    """Put a job into the inbox of the worker that holds the project; its name, or None if nobody does."""
    arguments = (_inbox(""), _message(project_id, job_id), _INBOX_KEPT_SECONDS)
    holder = redis.eval(_RING, 1, _lease(project_id), *arguments)
    return None if holder is None else _text(holder)


def nudge(redis: Redis, project_id: int) -> None:
    """Tell the worker that holds the project that labels have arrived: the next suggestion will not wait for them."""
    ring(redis, project_id, LABELS)


def take(redis: Redis, worker: str, seconds: float) -> list[tuple[int, str]]:
    """(project id, job id or LABELS) from an inbox, oldest first; waits for the first one, at most `seconds`."""
    first = redis.blpop([_inbox(worker)], timeout=seconds)
    if first is None:
        return []
    more = redis.lpop(_inbox(worker), _TAKEN_AT_ONCE) or []
    return [_parts(message) for message in (first[1], *more)]


def holder(redis: Redis, project_id: int) -> str | None:
    """The worker that holds the project, if one does."""
    found = redis.get(_lease(project_id))
    return None if found is None else _text(found)


def waits(redis: Redis, project_id: int, job_id: str) -> bool:
    """Whether a job is in the inbox of the worker that holds the project."""
    name = holder(redis, project_id)
    return name is not None and redis.lpos(_inbox(name), _message(project_id, job_id)) is not None


def hold(redis: Redis, worker: str, project_id: int) -> None:
    """Take the lease on a project, also from a worker that had it: the newest live state is the caller's."""
    redis.set(_lease(project_id), worker, ex=LEASE_SECONDS)


def renew(redis: Redis, worker: str, project_ids: Sequence[int]) -> list[int]:
    """Renew leases; returns the projects that another worker holds by now."""
    if not project_ids:
        return []
    pipeline = redis.pipeline(transaction=False)
    for project_id in project_ids:
        pipeline.eval(_RENEW, 1, _lease(project_id), worker, LEASE_SECONDS)
    return [project for project, kept in zip(project_ids, pipeline.execute(), strict=True) if not kept]


def let_go(redis: Redis, worker: str, project_ids: Iterable[int]) -> list[tuple[int, str]]:
    """End the worker's leases and empty its inbox; returns what it did not take, as `take` does."""
    pipeline = redis.pipeline(transaction=True)
    for project_id in project_ids:
        pipeline.eval(_LET_GO, 1, _lease(project_id), worker)
    pipeline.lrange(_inbox(worker), 0, -1)
    pipeline.delete(_inbox(worker))
    return [_parts(message) for message in pipeline.execute()[-2]]


def _message(project_id: int, job_id: str) -> str:
    return f"{project_id} {job_id}"


def _parts(message: bytes | str) -> tuple[int, str]:
    project_id, _, job_id = _text(message).partition(" ")
    return int(project_id), job_id


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _lease(project_id: int) -> str:
    return f"lookahead:warm:{project_id}"


def _inbox(worker: str) -> str:
    return f"lookahead:inbox:{worker}"
