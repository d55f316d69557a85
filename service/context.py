"""What every operation works with, made once per service process."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from redis import Redis

from service.endings import Endings
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import Sessions
from store.uploads import Uploads


@dataclass(frozen=True)
class Context:
    """Connections and settings."""

    settings: ServiceSettings
    sessions: Sessions
    redis: Redis
    artifacts: Artifacts
    uploads: Uploads
    endings: Endings


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Services = Annotated[Context, Depends(_context)]
