"""Health: alive, and ready."""

from collections.abc import Callable

import sqlalchemy as sa
from fastapi import APIRouter, Response
from redis.exceptions import RedisError
from rq import Worker
from sqlalchemy.exc import SQLAlchemyError

from api_schemas.jobs import Health
from service.context import Context, Services
from worker import queue

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Health, "description": "a part is away"}})
def readyz(context: Services, response: Response) -> Health:
    """Everything a request needs answers. `workers` tells how many serve each queue; none is no failure."""
    checks: dict[str, Callable[[Context], str]] = {
        "database": _database,
        "queue": _queue,
        "artifacts": _artifacts,
    }
    parts = {name: check(context) for name, check in checks.items()}
    ready = all(state == "ok" for state in parts.values())
    if parts["queue"] == "ok":
        parts["workers"] = ", ".join(
            f"{name} {Worker.count(queue=queue.queue(context.redis, name))}" for name in queue.QUEUES
        )
    response.status_code = 200 if ready else 503
    return Health(status="ok" if ready else "unavailable", parts=parts)


def _database(context: Context) -> str:
    try:
        with context.sessions.begin() as session:
            session.execute(sa.text("SELECT 1"))
    except SQLAlchemyError:
        return "unavailable"
    return "ok"


def _queue(context: Context) -> str:
    try:
        context.redis.ping()
    except RedisError:
        return "unavailable"
    return "ok"


def _artifacts(context: Context) -> str:
    try:
        context.artifacts.check()
    except OSError:
        return "unavailable"
    return "ok"
