"""The audit log: each request that changed something, and each that was refused, once its answer is known."""

import logging
import re
import time

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.idempotency import REPLAYED
from service.scopes import Rule
from store import audit
from store.database import Sessions, relax_durability

log = logging.getLogger(__name__)

REFUSALS = frozenset({401, 403, 429})
# Refusals that one process writes down in a minute: nobody without a key fills our disk.
REFUSALS_PER_MINUTE = 600
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of path parameters only those that we made ourselves: anything else may be a mistyped secret.
_OWN_ID = re.compile(r"(?:[0-9a-f]{8}|job-[0-9a-f]{32})\Z")
_REPLAYED = REPLAYED.lower().encode()
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class AuditMiddleware:
    """Writes an entry before the answer leaves. Around the access check, so that it sees its refusals."""

    def __init__(self, app: ASGIApp, sessions: Sessions, refusals_per_minute: int = REFUSALS_PER_MINUTE) -> None:
        self.app = app
        self._sessions = sessions
        self._most = refusals_per_minute
        self._minute = 0.0
        self._refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def noted(message: Message) -> None:
            # A replay is an answer from before: its work was done, and written down, then.
            if message["type"] == "http.response.start" and not _replays(message):
                await self._note(scope, message["status"])
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            await self._note(scope, 500)
            raise

    async def _note(self, scope: Scope, status: int) -> None:
        if not self._wanted(scope, status):
            return
        try:
            await run_in_threadpool(self._write, entry(scope, status))
        except SQLAlchemyError as error:
            log.error("request %s, %s, is missing from the audit: %s", scope.get("request_id"), status, error)

    def _wanted(self, scope: Scope, status: int) -> bool:
        if status in REFUSALS:
            return self._within_budget()
        rule: Rule | None = scope.get("rule")
        if rule is None or not rule.audited or scope["method"] in _READS:
            return False
        # A request that fails changes nothing, unless it is we who failed.
        return status < 400 or status == 500

    def _within_budget(self) -> bool:
        now = time.monotonic()
        if now - self._minute >= 60:
            if self._refused > self._most:
                log.warning("the audit leaves out %d refusals of one minute", self._refused - self._most)
            self._minute, self._refused = now, 0
        self._refused += 1
        return self._refused <= self._most

    def _write(self, noted: audit.Entry) -> None:
        with self._sessions.begin() as session:
            if noted["status"] in REFUSALS:
                relax_durability(session)
            audit.record(session, noted)


def _replays(message: Message) -> bool:
    return any(name == _REPLAYED for name, _ in message.get("headers", []))


def entry(scope: Scope, status: int) -> audit.Entry:
    """What is recorded of a request. A route may add to its `state`: `project`, and as `made` a key's prefix."""
    parameters: dict[str, str] = scope.get("parameters", {})
    state = scope.get("state", {})
    path: str = scope.get("template", "unknown")
    for name, value in parameters.items():
        if _OWN_ID.match(value):
            path = path.replace(f"{{{name}}}", value)
    if "made" in state:
        path = f"{path} -> {state['made']}"
    project = state.get("project") or parameters.get("name", "")
    return {
        "key_prefix": scope.get("key_prefix"),
        "method": scope["method"],
        "path": path,
        "project": project if _NAME.match(project) else None,
        "status": status,
        "request_id": scope.get("request_id", ""),
        "client": scope["client"][0] if scope.get("client") else None,
    }
