"""Who calls an ML backend: the token in its address is the credential, as a key is elsewhere."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from service.limits import Limiter
from service.problems import TooManyError, UnauthorizedError
from store import label_studio
from store.database import Sessions
from store.tables import Project

SCHEME = "lst"
# How long a process takes a token for current, as it does keys.
CACHE_SECONDS = 2.0
# Requests of one connection: an annotation makes one, a busy team of annotators some each second.
PER_MINUTE = 12_000
_HELD_MAX = 1000
_LENGTH_MAX = 200


@dataclass(frozen=True)
class Backend:
    """A connection that a token stands for."""

    connection_id: int
    prefix: str
    project: str
    digest: str


def new_token() -> tuple[str, str, str]:
    """(token, prefix, digest) of a fresh connection. Only the last two are to be stored."""
    prefix = secrets.token_hex(4)
    token = f"{SCHEME}_{prefix}_{secrets.token_urlsafe(32)}"
    return token, prefix, digest(token)


def digest(token: str) -> str:
    """What is stored of a token: its secret has 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


class Backends:
    """Finds connections by their tokens, and counts who asks."""

    def __init__(self, sessions: Sessions, limiter: Limiter, failures_per_minute: int) -> None:
        self._sessions = sessions
        self._limiter = limiter
        self._failures = failures_per_minute
        self._held: dict[str, tuple[float, Backend]] = {}

    def admit(self, token: str, client: str) -> Backend:
        """The connection of this token. Raises UnauthorizedError `unknown_token`, TooManyError `rate_limited`."""
        wanted = digest(token) if len(token) <= _LENGTH_MAX else ""
        found = self._fresh(wanted)
        if found is None:
            if self._failures and wanted not in self._held:
                self._refuse_past(self._limiter.room(self._failures, "failed", client).allowed)
            found = self._look_up(wanted)
        if found is None or not hmac.compare_digest(found.digest, wanted):
            raise self._unknown(wanted, client)
        self._refuse_past(self._limiter.take(PER_MINUTE, "label-studio", found.prefix).allowed)
        return found

    def forget(self, prefix: str) -> None:
        """Ask the database anew about a connection that this process has just ended."""
        for held, (_, backend) in list(self._held.items()):
            if backend.prefix == prefix:
                self._held.pop(held, None)

    def _fresh(self, wanted: str) -> Backend | None:
        held = self._held.get(wanted)
        return held[1] if held is not None and time.monotonic() - held[0] < CACHE_SECONDS else None

    def _look_up(self, wanted: str) -> Backend | None:
        # From before the question: what is ended while it is answered must not count as current for longer.
        asked = time.monotonic()
        with self._sessions.begin() as session:
            row = label_studio.by_digest(session, wanted)
            if row is None:
                return None
            found = Backend(row.id, row.prefix, session.get_one(Project, row.project_id).name, row.digest)
        if len(self._held) >= _HELD_MAX:
            self._held.clear()
        self._held[wanted] = asked, found
        return found

    def _unknown(self, wanted: str, client: str) -> UnauthorizedError:
        self._held.pop(wanted, None)
        if self._failures:
            self._refuse_past(self._limiter.take(self._failures, "failed", client).allowed)
        return UnauthorizedError(
            "unknown_token",
            "the token in the address is not known, or its connection was ended: `lookahead label-studio connect` "
            "makes one",
        )

    def _refuse_past(self, allowed: bool) -> None:
        if not allowed:
            raise TooManyError(
                "rate_limited", "too many requests within a minute: wait a little", headers={"Retry-After": "5"}
            )
