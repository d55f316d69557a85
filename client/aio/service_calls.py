# Made from client/service_calls.py by `make client`: change that one.
"""The service itself: whether it is up, what it counts, and the uploads that are on their way."""

from pathlib import Path
from urllib.parse import quote

import httpx

from api_schemas.jobs import Health
from client.aio.calls import Calls
from client.aio.resumable import VERSION, OnBytes, send_file


class ServiceCalls(Calls):
    """Health, figures, and files in parts."""

    async def alive(self) -> Health:
        """Whether the process answers."""
        return await self._ask(Health, "GET", "/livez")

    async def ready(self) -> Health:
        """What each part of the service says; `status` is unavailable where one is away."""
        return self._transport.read(
            Health, await self._transport.send("GET", "/readyz", also=httpx.codes.SERVICE_UNAVAILABLE)
        )

    async def metrics(self) -> str:
        """What the service and its workers count, as Prometheus reads it."""
        return (await self._transport.send("GET", "/metrics")).text

    async def upload_limits(self, upload: str | None = None) -> dict[str, str]:
        """What the service says of uploads, or of one: the headers that begin with Tus."""
        path = "/uploads" if upload is None else _path(upload)
        answer = await self._transport.send("OPTIONS", path, repeatable=True)
        return {name: value for name, value in answer.headers.items() if name.startswith("tus")}

    async def send_file(self, path: Path | str, *, on_bytes: OnBytes | None = None, resume: str | None = None) -> str:
        """Send a file in parts, or the rest of an upload; returns its id, for a form field `upload`."""
        path = Path(path)
        with path.open("rb") as file:
            return await send_file(self._transport, file, path.name, on_bytes, resume)

    async def upload_offset(self, upload: str) -> int:
        """How many bytes of an upload have arrived."""
        answer = await self._transport.send("HEAD", _path(upload), repeatable=True, headers=VERSION)
        return int(answer.headers["Upload-Offset"])

    async def discard_upload(self, upload: str) -> None:
        """Give up an upload, and what was sent of it."""
        await self._transport.send("DELETE", _path(upload), headers=VERSION)


def _path(upload: str) -> str:
    return f"/uploads/{quote(upload, safe='')}"
