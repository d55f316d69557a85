"""What every operation works with, made once per service process."""

from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import Depends, Request
from redis import Redis

from service.auth import Keyring
from service.caller import NOBODY, Caller
from service.endings import Endings
from service.samples import Samples
from service.settings import ServiceSettings
from service.uploads.decoders import Decoders
from store.artifacts import Artifacts
from store.database import Sessions
from store.jobs import Origin
from store.uploads import Uploads
from store.vault import Vault
from telemetry.traces import Tracing


@dataclass(frozen=True)
class Context:
    """Connections and settings; and, for one request, its id and who is calling."""

    settings: ServiceSettings
    sessions: Sessions
    redis: Redis
    artifacts: Artifacts
    uploads: Uploads
    endings: Endings
    keyring: Keyring
    caller: Caller = NOBODY
    decoders: Decoders = field(default_factory=Decoders)
    tracing: Tracing = field(default_factory=Tracing)
    vault: Vault = field(default_factory=Vault)
    samples: Samples = field(default_factory=Samples)
    request_id: str | None = None

    @property
    def origin(self) -> Origin:
        """Who asks for the jobs that are created now."""
        return Origin(self.request_id, self.tracing.carrier())


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return replace(context, caller=request.scope["caller"], request_id=request.scope.get("request_id"))


Services = Annotated[Context, Depends(_context)]
