"""Around every request: its id, and the body limit's refusal as a problem."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import too_large
from telemetry import logs

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class RequestIdMiddleware:
    """Names every request: by the caller's own id if it is sane. Pure ASGI, so that streaming answers stream."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the request and answer with its name."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _SANE.match(given) else uuid.uuid4().hex
        scope["request_id"] = request_id
        # Not ended here: what is logged when the error handlers outside of us have answered belongs to it too.
        logs.begin(request_id=request_id)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self.app(scope, receive, named)


class BodyLimitAsProblem:
    """The framework refuses a body past its limit in plain text, before any handler sees it: say it as a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Replace a plain 413 and pass everything else on."""
        replaced = False

        async def translated(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 413:
                replaced = Headers(scope=message).get("content-type", "").startswith("text/plain")
                if replaced:
                    await too_large(Request(scope))(scope, receive, send)
            if not replaced:
                await send(message)

        await self.app(scope, receive, translated)
