"""What must be in order before the service may be reached from other machines."""

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from service.settings import ServiceSettings
from store import keys
from store.database import Sessions

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Passwords that stand in files to copy from: whoever keeps them has chosen none.
_PLACEHOLDERS = frozenset(
    {"admin", "change-me", "change_me", "changeit", "changeme", "default", "example", "lookahead", "pass", "password"}
    | {
        "postgres",
        "redis",
        "replace-me",
        "replaceme",
        "root",
        "secret",
        "test",
        "todo",
        "valkey",
        "xxx",
        "your-password",
    }
)


def objection(settings: ServiceSettings, host: str, sessions: Sessions) -> str | None:
    """Why the service must not listen on `host`, and what to do; None if it may.

    A database that is away is no objection: nobody gets past the check of keys then.
    """
    if host in LOOPBACK:
        return None
    if settings.lookahead_auth == "off":
        return f"Refusing to listen on {host} without keys: set LOOKAHEAD_AUTH=on."
    for variable, url in (("DATABASE_URL", settings.database_url), ("REDIS_URL", settings.redis_url)):
        if _is_placeholder(sa.make_url(url).password):
            return f"Refusing to listen on {host}: the password in {variable} is a placeholder; choose one of your own."
    if not _any_key(sessions):
        return (
            f"Refusing to listen on {host}: there is no live API key, so nobody could use it. Make one with "
            "`lookahead keys create --name NAME` (in a container: `python -m service.keys create --name NAME`), with "
            "this DATABASE_URL. For `lookahead up`: start it on 127.0.0.1 first, make the key, then start it again."
        )
    return None


def _is_placeholder(password: object) -> bool:
    return password is not None and str(password).strip("<>{}$ ").lower() in _PLACEHOLDERS


def _any_key(sessions: Sessions) -> bool:
    try:
        with sessions.begin() as session:
            return keys.any_live(session)
    except OperationalError:
        return True
    except ProgrammingError:
        # No tables yet: then there is no key either.
        return False
