"""What every operation works with, made once per service process."""

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request
from redis import Redis

from service.auth import Keyring
from service.caller import NOBODY, Caller
from service.endings import Endings
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import Sessions


@dataclass(frozen=True)
class Context:
    """Connections and settings; and, for one request, who is calling."""

    settings: ServiceSettings
    sessions: Sessions
    redis: Redis
    artifacts: Artifacts
    endings: Endings
    keyring: Keyring
    caller: Caller = NOBODY


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return replace(context, caller=request.scope["caller"])


Services = Annotated[Context, Depends(_context)]
