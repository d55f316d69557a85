"""Who is calling and whether they may: settled before anything of the body is read."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import auth, problems
from service.caller import ANYBODY, NOBODY, Caller
from service.limits import Limiter, Verdict
from service.problems import ForbiddenError, ServiceError, TooManyError, UnauthorizedError, unknown_project
from service.scopes import UNDECLARED, Found, Rule, Table

_HELP = "send 'Authorization: Bearer <key>'; `lookahead keys create --name NAME` makes one"
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class AccessMiddleware:
    """Puts the caller into the scope as `caller`, and answers for those who may not.

    What the audit needs goes there too: `rule`, `template`, `parameters` and, once it is known, `key_prefix`.
    Pure ASGI: an upload without a key is refused before its first byte is kept.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        on: bool,
        origins: Sequence[str],
        routes: Iterable[BaseRoute],
        keyring: auth.Keyring,
        guard: "Guard",
    ) -> None:
        self.app = app
        self._on = on
        self._origins = frozenset(origins)
        self._routes = routes
        self._keyring = keyring
        self._guard = guard
        self._table = Table()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Settle who is calling and pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        found = self._table.find(scope["method"], scope["path"]) or self._undeclared(scope)
        scope["caller"] = NOBODY if self._on else ANYBODY
        if found is not None:
            scope["rule"], scope["template"], scope["parameters"] = found
            try:
                verdict = await self._settle(scope, found)
            except ServiceError as error:
                await problems.answer_to(Request(scope), error)(scope, receive, send)
                return
            except (OperationalError, InterfaceError) as error:
                await problems.database_away(Request(scope), error)(scope, receive, send)
                return
            if verdict is not None:
                send = _with_headers(send, verdict.headers())
        await self.app(scope, receive, send)

    async def _settle(self, scope: Scope, found: Found) -> Verdict | None:
        if not self._on:
            _check_origin(scope, self._origins)
            return None
        return None if found[0].open else await self._admit(scope, found)

    def _undeclared(self, scope: Scope) -> Found | None:
        # None where there is no route at all: the router's own 404 or 405 needs no key.
        if any(route.matches(scope)[0] is Match.FULL for route in self._routes):
            return UNDECLARED, "undeclared", {}
        return None

    async def _admit(self, scope: Scope, found: Found) -> Verdict | None:
        rule, _, parameters = found
        client = scope["client"][0] if scope.get("client") else "local"
        if auth.without_keys(query := scope["query_string"].decode("latin-1")) != query:
            raise UnauthorizedError(
                "key_in_query",
                "an API key in the address ends up in logs: send it as 'Authorization: Bearer <key>', and rotate it",
                headers=_CHALLENGE,
            )
        digest = _digest(scope)
        known = None if digest is None else self._keyring.fresh(digest)
        if known is None:
            known = await run_in_threadpool(self._guard.identify, digest, client)
        caller = known.caller
        scope["key_prefix"] = caller.prefix
        _check_expiry(known)
        verdict = None
        if caller.requests_per_minute is not None:
            verdict = await run_in_threadpool(self._guard.count, caller)
        _check_rights(rule, parameters, caller)
        scope["caller"] = caller
        return verdict


class Guard:
    """The parts that wait for the database or Redis."""

    def __init__(self, keyring: auth.Keyring, limiter: Limiter, failures_per_minute: int) -> None:
        self._keyring = keyring
        self._limiter = limiter
        self._failures = failures_per_minute

    def identify(self, digest: str | None, client: str) -> auth.Known:
        """The key with this digest. Raises UnauthorizedError, TooManyError.

        An address with too many failures is not let try further keys; those it has used before go on working.
        """
        if digest is not None:
            if self._failures and not self._keyring.proven(digest):
                self._refuse_past(self._limiter.room(self._failures, "failed", client))
            known = self._keyring.look_up(digest)
            if known is not None:
                return known
        if self._failures:
            self._refuse_past(self._limiter.take(self._failures, "failed", client))
        if digest is None:
            raise UnauthorizedError("key_missing", f"no key came with the request: {_HELP}", headers=_CHALLENGE)
        raise UnauthorizedError("key_unknown", f"the key is not known or was revoked: {_HELP}", headers=_CHALLENGE)

    def _refuse_past(self, verdict: Verdict) -> None:
        if not verdict.allowed:
            raise TooManyError(
                "rate_limited",
                f"more than {verdict.limit} requests without a valid key came from this address within a minute",
                headers={"Retry-After": str(max(verdict.seconds, 1))},
            )

    def count(self, caller: Caller) -> Verdict:
        """Count a request of a limited key. Raises TooManyError."""
        assert caller.requests_per_minute is not None
        verdict = self._limiter.take(caller.requests_per_minute, "key", str(caller.key_id))
        if not verdict.allowed:
            raise TooManyError(
                "rate_limited",
                f"key {auth.SCHEME}_{caller.prefix} may make {verdict.limit} requests per minute: "
                "wait as Retry-After says",
                headers=verdict.headers(),
            )
        return verdict


def _check_origin(scope: Scope, allowed: frozenset[str]) -> None:
    """Refuse changes that the page of another origin asks for: without keys, every browser here could make them."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None or scope["method"] in {"GET", "HEAD"} or origin in allowed:
        return
    if origin.partition("://")[2] != headers.get("host"):
        raise ForbiddenError(
            "origin_refused", "a page of another origin asks: name it in LOOKAHEAD_CORS_ORIGINS if it may"
        )


def _digest(scope: Scope) -> str | None:
    """The digest of the key that came with a request."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.decode("latin-1").partition(" ")
            return auth.digest(key.strip()) if scheme.lower() == "bearer" and key.strip() else None
    return None


def _check_expiry(known: auth.Known) -> None:
    # Only who has sent the whole key gets here.
    expires = known.caller.expires_at
    if expires is None or expires > datetime.now(UTC):
        return
    instead = (
        f"{auth.SCHEME}_{known.replaced_by} has taken its place"
        if known.replaced_by is not None
        else "ask for a new one"
    )
    raise UnauthorizedError(
        "key_expired",
        f"key {auth.SCHEME}_{known.caller.prefix} ended on {expires:%Y-%m-%d at %H:%M} UTC: {instead}",
        headers=_CHALLENGE,
    )


def _check_rights(rule: Rule, parameters: dict[str, str], caller: Caller) -> None:
    if not caller.may(rule.scopes):
        has = ", ".join(sorted(caller.scopes))
        raise ForbiddenError("scope_missing", f"this needs a key with the scope {rule.words()}, and this one has {has}")
    if rule.everywhere and caller.projects is not None:
        raise ForbiddenError(
            "project_out_of_scope", "this speaks of all projects, and the key is for some of them: use one for all"
        )
    name = parameters.get("name")
    if name is not None and not caller.sees(name):
        raise unknown_project(name)


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return noted
