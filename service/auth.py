"""Bearer keys: shown once, kept as a hash, told apart by their prefix; and how they are looked up."""

import hashlib
import re
import secrets
import time
from dataclasses import dataclass

from service.caller import Caller
from store import keys
from store.database import Sessions

SCHEME = "lk"
# How long a process takes a key's rights for current: a revoked key is refused everywhere after so many seconds.
CACHE_SECONDS = 2.0
_HELD_MAX = 10_000
_SHAPE = re.compile(r"(lk_[0-9a-f]{8})_[A-Za-z0-9_-]{20,}")


def new_key() -> tuple[str, str, str]:
    """(key, prefix, digest) of a fresh key. Only the last two are to be stored."""
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    key = f"{SCHEME}_{prefix}_{secret}"
    return key, prefix, digest(key)


def digest(key: str) -> str:
    """What is stored of a key. Its secret has 256 random bits, so a plain hash cannot be searched.

    Keys are found by their digest: how long that takes says nothing about the secret.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def without_keys(text: str) -> str:
    """The text with the secret part of every key in it taken out."""
    return _SHAPE.sub(r"\1_...", text)


@dataclass(frozen=True)
class Known:
    """A key that is not revoked, as the database had it."""

    caller: Caller
    replaced_by: str | None


class Keyring:
    """Keys by digest, remembered for a moment so that not every request asks the database."""

    def __init__(self, sessions: Sessions, seconds: float = CACHE_SECONDS) -> None:
        self._sessions = sessions
        self._seconds = seconds
        self._held: dict[str, tuple[float, Known]] = {}

    def fresh(self, digest: str) -> Known | None:
        """The key, if it was looked up a moment ago."""
        held = self._held.get(digest)
        return held[1] if held is not None and time.monotonic() - held[0] < self._seconds else None

    def proven(self, digest: str) -> bool:
        """Whether this process has seen the key live, however long ago."""
        return digest in self._held

    def look_up(self, digest: str) -> Known | None:
        """The key as the database has it; None if there is none or it was revoked."""
        # From before the question: what is revoked while it is answered must not count as current for longer.
        asked = time.monotonic()
        with self._sessions.begin() as session:
            row = keys.by_digest(session, digest)
        if row is None or row.revoked_at is not None:
            self._held.pop(digest, None)
            return None
        rights = keys.rights_of(row)
        caller = Caller(
            key_id=row.id,
            prefix=row.prefix,
            scopes=frozenset(rights.scopes),
            projects=None if rights.projects is None else frozenset(rights.projects),
            requests_per_minute=rights.requests_per_minute,
            expires_at=rights.expires_at,
        )
        known = Known(caller, row.replaced_by)
        if len(self._held) >= _HELD_MAX:
            self._held.clear()
        self._held[digest] = asked, known
        return known

    def forget(self, prefix: str) -> None:
        """Ask the database anew about a key that this process has just changed."""
        for held, (_, known) in list(self._held.items()):
            if known.caller.prefix == prefix:
                self._held.pop(held, None)
