"""API keys over HTTP: nobody makes or takes over a key that may do more than the one they hold."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from api_schemas import keys as wire
from service import auth
from service.caller import Caller
from service.context import Context
from service.problems import ConflictError, ForbiddenError, UnknownError, unknown_project
from store import audit, keys
from store.keys import Rights
from store.tables import ApiKey


def create(context: Context, request: wire.KeyCreate) -> wire.NewKey:
    """A new key, the only time that it is shown. Raises ForbiddenError `beyond_own_rights`."""
    rights = _granted(context.caller, request)
    key, prefix, digest = auth.new_key()
    with context.sessions.begin() as session:
        made = keys.create(session, name=request.name, prefix=prefix, digest=digest, rights=rights)
        return wire.NewKey(key=key, **_described(made))


def page(context: Context, after: str | None, limit: int) -> wire.KeyList:
    """The keys whose projects the caller sees, all of them."""
    with context.sessions.begin() as session:
        found = keys.page(session, within=context.caller.projects, after=after, limit=limit)
        described = [wire.Key(**_described(key)) for key in found]
    return wire.KeyList(keys=described, next=found[-1].prefix if len(found) == limit else None)


def rotate(context: Context, prefix: str, request: wire.KeyRotate) -> wire.NewKey:
    """A key in the place of another, which ends after its grace.

    Raises UnknownError, ConflictError `key_ended` or `key_rotated`, ForbiddenError `beyond_own_rights`.
    """
    key, new_prefix, digest = auth.new_key()
    with context.sessions.begin() as session:
        old = _find(session, prefix, context.caller)
        if keys.state(old) != "live":
            raise ConflictError("key_ended", f"key {prefix} is {keys.state(old)}: make a new one with POST /keys")
        expires_at = old.expires_at if request.expires_days is None else _in_days(request.expires_days)
        rights = keys.rights_of(old)
        _check_within(context.caller, Rights(rights.scopes, rights.projects, rights.requests_per_minute, expires_at))
        try:
            made = keys.replace(
                session,
                old,
                prefix=new_prefix,
                digest=digest,
                expires_at=expires_at,
                grace=timedelta(seconds=request.grace_seconds),
            )
        except keys.ReplacedError as error:
            raise ConflictError(
                "key_rotated", f"key {error.successor} has taken the place of {prefix} already: rotate that one"
            ) from error
        answer = wire.NewKey(key=key, **_described(made))
    context.keyring.forget(prefix)
    return answer


def revoke(context: Context, prefix: str) -> wire.Key:
    """End a key; ending it again changes nothing. Raises UnknownError."""
    with context.sessions.begin() as session:
        key = _find(session, prefix, context.caller)
        keys.revoke(session, key)
        answer = wire.Key(**_described(key))
    context.keyring.forget(prefix)
    return answer


def audited(context: Context, project: str | None, after: int, limit: int) -> wire.AuditPage:
    """Entries past the id `after`, of the caller's projects. Raises UnknownError."""
    if project is not None and not context.caller.sees(project):
        raise unknown_project(project)
    with context.sessions.begin() as session:
        found = audit.page(session, within=context.caller.projects, project=project, after=after, limit=limit)
        entries = [wire.AuditEntry.model_validate(entry, from_attributes=True) for entry in found]
    return wire.AuditPage(entries=entries, next=entries[-1].id if entries else after)


def _find(session: Session, prefix: str, caller: Caller) -> ApiKey:
    key = keys.by_prefix(session, prefix, lock=True)
    if key is None or not _sees(caller, key):
        raise UnknownError("unknown_key", f"there is no key {prefix!r}; GET /keys lists them")
    return key


def _sees(caller: Caller, key: ApiKey) -> bool:
    return caller.projects is None or (key.projects is not None and caller.projects.issuperset(key.projects))


def _in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _granted(caller: Caller, request: wire.KeyCreate) -> Rights:
    """What is asked for, and the caller's own where nothing is. Raises ForbiddenError."""
    own = None if caller.projects is None else sorted(caller.projects)
    asked = Rights(
        tuple(sorted(set(request.scopes))),
        tuple(projects) if (projects := request.projects or own) is not None else None,
        caller.requests_per_minute if request.requests_per_minute is None else request.requests_per_minute,
        caller.expires_at if request.expires_days is None else _in_days(request.expires_days),
    )
    _check_within(caller, asked)
    return asked


def _check_within(caller: Caller, rights: Rights) -> None:
    """Raises ForbiddenError unless the caller may do everything that the rights allow. The caller is an admin."""
    beyond = None
    if caller.projects is not None and not caller.projects.issuperset(rights.projects or ()):
        beyond = f"only the projects {', '.join(sorted(caller.projects))}"
    elif _more(rights.requests_per_minute, caller.requests_per_minute):
        beyond = f"at most {caller.requests_per_minute} requests per minute"
    elif _more(rights.expires_at, caller.expires_at):
        beyond = f"an end no later than {caller.expires_at:%Y-%m-%d %H:%M} UTC"
    if beyond is not None:
        raise ForbiddenError("beyond_own_rights", f"a key may do no more than the one that makes it: {beyond}")


def _more(asked: int | datetime | None, own: int | datetime | None) -> bool:
    # None is without bounds.
    return own is not None and (asked is None or asked > own)  # type: ignore[operator]


def _described(key: ApiKey) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "state": keys.state(key),
        "scopes": key.scopes,
        "projects": key.projects,
        "requests_per_minute": key.requests_per_minute,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "replaced_by": key.replaced_by,
    }
