"""`python -m service.keys`: API keys, the keys that tokens are encrypted with, and the audit log."""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from api_schemas.common import Name
from api_schemas.keys import Scope
from service import auth
from service.settings import ServiceSettings
from store import audit, keys, label_studio
from store.database import Sessions, connect
from store.keys import Rights
from store.settings import from_environment
from store.vault import Vault, VaultError

_ALL = Rights(("admin",))


def create(sessions: Sessions, name: str, rights: Rights = _ALL) -> str:
    """A new key; it cannot be shown again."""
    key, prefix, digest = auth.new_key()
    with sessions.begin() as session:
        keys.create(session, name=name, prefix=prefix, digest=digest, rights=rights)
    return key


def rotate(sessions: Sessions, prefix: str, grace: timedelta) -> str:
    """A key in the place of another, with its rights and its end. Raises ValueError, with why it cannot be."""
    key, new_prefix, digest = auth.new_key()
    with sessions.begin() as session:
        old = keys.by_prefix(session, prefix, lock=True)
        if old is None or keys.state(old) != "live":
            raise ValueError(f"no live key has the prefix {prefix!r}")
        try:
            keys.replace(session, old, prefix=new_prefix, digest=digest, expires_at=old.expires_at, grace=grace)
        except keys.ReplacedError as error:
            raise ValueError(f"{error.successor} has taken the place of {prefix} already: rotate that one") from error
    return key


def revoke(sessions: Sessions, prefix: str) -> bool:
    """End a key; False if no live key has the prefix."""
    with sessions.begin() as session:
        key = keys.by_prefix(session, prefix, lock=True)
        if key is None or key.revoked_at is not None:
            return False
        keys.revoke(session, key)
        return True


def reencrypt(sessions: Sessions, vault: Vault) -> int:
    """Other systems' tokens with the newest key; returns how many. Raises ValueError, and then none has changed."""
    with sessions.begin() as session:
        connections = label_studio.all_locked(session)
        try:
            for connection in connections:
                connection.api_token = vault.seal(vault.unseal(connection.api_token))
        except VaultError as error:
            raise ValueError(f"connection {connection.prefix}: {error}") from error
        return len(connections)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when done."""
    options = _parser().parse_args(arguments)
    sessions = connect(from_environment(ServiceSettings).database_url)
    command: Callable[[Sessions, argparse.Namespace], None] = options.run
    try:
        command(sessions, options)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        sessions.kw["bind"].dispose()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lookahead keys", description="API keys of this deployment")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("create", help="make a key; it is printed once")
    making.add_argument("--name", required=True, help="who or what it is for")
    making.add_argument(
        "--scope", action="append", choices=get_args(Scope), help="may be given several times; default: admin"
    )
    making.add_argument("--project", action="append", type=_project, help="may be given several times; default: all")
    making.add_argument("--requests-per-minute", type=_positive, metavar="N")
    making.add_argument("--expires-days", type=_positive, metavar="N")
    making.set_defaults(run=_create)
    commands.add_parser("list", help="list keys by prefix").set_defaults(run=_list)
    rotating = commands.add_parser("rotate", help="replace a key by one with the same rights, which is printed once")
    rotating.add_argument("prefix")
    rotating.add_argument("--grace-seconds", type=_count, default=3600, metavar="N", help="the old one's; 0: none")
    rotating.set_defaults(run=_rotate)
    ending = commands.add_parser("revoke", help="end a key")
    ending.add_argument("prefix")
    ending.set_defaults(run=_revoke)
    commands.add_parser(
        "reencrypt", help="encrypt the access tokens that are kept with the first of LOOKAHEAD_SECRET_KEYS"
    ).set_defaults(run=_reencrypt)
    reading = commands.add_parser("audit", help="who changed what, and who was refused: the last entries")
    reading.add_argument("--project", type=_project)
    reading.add_argument("--after", type=_count, metavar="ID", help="instead of the last, those past this id")
    reading.add_argument("--limit", type=_positive, default=50, metavar="N")
    reading.set_defaults(run=_audit)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000000")
    return int(text)


def _count(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _project(text: str) -> str:
    try:
        return TypeAdapter[str](Name).validate_python(text)
    except ValidationError:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a project") from None


def _create(sessions: Sessions, options: argparse.Namespace) -> None:
    days: int | None = options.expires_days
    rights = Rights(
        scopes=tuple(dict.fromkeys(options.scope or ["admin"])),
        projects=None if options.project is None else tuple(dict.fromkeys(options.project)),
        requests_per_minute=options.requests_per_minute,
        expires_at=None if days is None else datetime.now(UTC) + timedelta(days=days),
    )
    sys.stdout.write(create(sessions, options.name, rights) + "\n")


def _rotate(sessions: Sessions, options: argparse.Namespace) -> None:
    sys.stdout.write(rotate(sessions, options.prefix, timedelta(seconds=options.grace_seconds)) + "\n")


def _reencrypt(sessions: Sessions, _: argparse.Namespace) -> None:
    vault = from_environment(ServiceSettings).vault
    if not vault.has_keys:
        raise ValueError("LOOKAHEAD_SECRET_KEYS is not set: there is nothing to encrypt with")
    sys.stdout.write(f"Access tokens encrypted with the first key: {reencrypt(sessions, vault)}\n")


def _revoke(sessions: Sessions, options: argparse.Namespace) -> None:
    if not revoke(sessions, options.prefix):
        raise ValueError(f"no live key has the prefix {options.prefix!r}")


def _list(sessions: Sessions, options: argparse.Namespace) -> None:
    with sessions.begin() as session:
        for key in keys.page(session, within=None, after=None, limit=1_000_000):
            until = "" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M}"
            cells = (
                key.prefix,
                keys.state(key),
                f"{key.created_at:%Y-%m-%d}",
                ",".join(key.scopes),
                "all projects" if key.projects is None else ",".join(key.projects),
                "" if key.requests_per_minute is None else f"{key.requests_per_minute}/min",
                until,
                "" if key.replaced_by is None else f"replaced by {key.replaced_by}",
                key.name,
            )
            sys.stdout.write("\t".join(cells) + "\n")


def _audit(sessions: Sessions, options: argparse.Namespace) -> None:
    with sessions.begin() as session:
        found = audit.page(session, within=None, project=options.project, after=options.after, limit=options.limit)
        for entry in found:
            cells = (
                str(entry.id),
                f"{entry.at:%Y-%m-%d %H:%M:%S}",
                entry.key_prefix or "-",
                entry.client or "-",
                str(entry.status),
                entry.method,
                entry.path,
                entry.project or "-",
                entry.request_id,
            )
            sys.stdout.write("\t".join(cells) + "\n")


if __name__ == "__main__":
    sys.exit(main())
