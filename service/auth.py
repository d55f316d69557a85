"""Bearer keys: shown once, kept as a hash, told apart by their prefix."""

import hashlib
import secrets

import sqlalchemy as sa
from fastapi import Request

from service.context import Context
from service.problems import UnauthorizedError
from store.tables import ApiKey

SCHEME = "lk"
_HELP = "send 'Authorization: Bearer <key>'; `lookahead keys create --name NAME` makes one"


def new_key() -> tuple[str, str, str]:
    """(key, prefix, digest) of a fresh key. Only the last two are to be stored."""
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    key = f"{SCHEME}_{prefix}_{secret}"
    return key, prefix, digest(key)


def digest(key: str) -> str:
    """What is stored of a key. Its secret has 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(key.encode()).hexdigest()


def check(request: Request) -> None:
    """Let the request pass if keys are off or it has one that is known. Raises UnauthorizedError."""
    context: Context = request.app.state.context
    if context.settings.lookahead_auth == "off":
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise UnauthorizedError("key_missing", f"no key came with the request: {_HELP}", headers=_CHALLENGE)
    with context.sessions.begin() as session:
        known = session.scalar(
            sa.select(ApiKey.id).where(ApiKey.digest == digest(key.strip()), ApiKey.revoked_at.is_(None))
        )
    if known is None:
        raise UnauthorizedError("key_unknown", f"the key is not known or was revoked: {_HELP}", headers=_CHALLENGE)


_CHALLENGE = {"WWW-Authenticate": "Bearer"}
