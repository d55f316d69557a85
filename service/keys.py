"""`python -m service.keys`: make, list and revoke API keys."""

import argparse
import sys
from collections.abc import Sequence

import sqlalchemy as sa

from service import auth
from service.settings import ServiceSettings
from store.database import Sessions, connect
from store.settings import from_environment
from store.tables import ApiKey


def create(sessions: Sessions, name: str) -> str:
    """A new key; it cannot be shown again."""
    key, prefix, digest = auth.new_key()
    with sessions.begin() as session:
        session.add(ApiKey(name=name, prefix=prefix, digest=digest))
    return key


def revoke(sessions: Sessions, prefix: str) -> bool:
    """End a key; False if no live key has the prefix."""
    with sessions.begin() as session:
        ended = session.scalars(
            sa.update(ApiKey)
            .where(ApiKey.prefix == prefix, ApiKey.revoked_at.is_(None))
            .values(revoked_at=sa.func.now())
            .returning(ApiKey.id)
        )
        return ended.first() is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when done."""
    parser = argparse.ArgumentParser(prog="lookahead keys", description="API keys of this deployment")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("create", help="make a key").add_argument("--name", required=True)
    commands.add_parser("list", help="list keys by prefix")
    commands.add_parser("revoke", help="end a key").add_argument("prefix")
    options = parser.parse_args(arguments)
    sessions = connect(from_environment(ServiceSettings).database_url)
    if options.command == "create":
        sys.stdout.write(create(sessions, options.name) + "\n")
    elif options.command == "revoke":
        if not revoke(sessions, options.prefix):
            sys.stderr.write(f"no live key has the prefix {options.prefix!r}\n")
            return 1
    else:
        with sessions.begin() as session:
            for key in session.scalars(sa.select(ApiKey).order_by(ApiKey.id)):
                state = "revoked" if key.revoked_at else "live"
                sys.stdout.write(f"{key.prefix}\t{state}\t{key.created_at:%Y-%m-%d}\t{key.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
