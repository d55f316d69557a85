"""Around every request: its id, and the body limit's refusal as a problem."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import AddressTooLongError, HeadTooLargeError, ServiceError, answer_to, too_large
from telemetry import logs

HEADER = "X-Request-ID"
# As long as common clients make addresses at all.
ADDRESS_MAX = 64 << 10
HEADERS_MAX = 32 << 10
_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
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


class HeadLimits:
    """Refuses addresses and headers that are longer than anything sensible. The server bounds what it reads at all."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass requests on whose head has a sane size."""
        if scope["type"] == "http":
            if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > ADDRESS_MAX:
                error: ServiceError = AddressTooLongError(
                    "address_too_long", f"addresses have at most {ADDRESS_MAX} bytes: ask for fewer items at a time"
                )
                await answer_to(Request(scope), error)(scope, receive, send)
                return
            if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_MAX:
                error = HeadTooLargeError("headers_too_large", f"headers have at most {HEADERS_MAX} bytes together")
                await answer_to(Request(scope), error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class SafeAnswers:
    """What browsers are told about every answer: to take it for what it says it is, and never to frame it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers and pass everything on."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_SAFE]
            await send(message)

        await self.app(scope, receive, guarded)


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
