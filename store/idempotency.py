"""Requests with a key of their own: each is done once, and asked again it gets the answer it got."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.alive import is_alive
from store.errors import KeyReusedError
from store.tables import IdempotencyKey, Json


def find(session: Session, owner: str, key: str, fingerprint: str) -> Json | None:
    """The answer of the request that had this key; None if none had. Raises KeyReusedError.

    What was done in a project that is deleted says nothing of another of its name: such a key is forgotten.
    """
    columns = (IdempotencyKey.fingerprint, IdempotencyKey.answer, IdempotencyKey.project_id)
    row = session.execute(sa.select(*columns).where(_is(owner, key)).with_for_update()).first()
    if row is None:
        return None
    if row[2] is not None and not is_alive(session, row[2]):
        session.execute(sa.delete(IdempotencyKey).where(_is(owner, key)))
        return None
    if row[0] != fingerprint:
        raise KeyReusedError(f"the key {key!r} came before with another request")
    answer: Json | None = row[1]
    return answer


def begin(session: Session, owner: str, key: str, fingerprint: str) -> Json | None:
    """Claim the key until this transaction ends; the answer instead if it was claimed before.

    A twin under way is waited for: with its commit this gives its answer, with its rollback the key is ours. Raises
    KeyReusedError when the key was used for another request.
    """
    while True:
        claimed = session.execute(
            insert(IdempotencyKey)
            .values(owner=owner, key=key, fingerprint=fingerprint)
            .on_conflict_do_nothing()
            .returning(IdempotencyKey.key)
        ).first()
        if claimed is not None:
            return None
        answer = find(session, owner, key, fingerprint)
        if answer is not None:
            return answer
        # Pruned or forgotten between the two statements.


def keep(session: Session, owner: str, key: str, answer: Json, project_id: int | None) -> None:
    """Store what was answered, in the transaction that did the work; in which project, if that was in one."""
    kept = {"answer": answer, "project_id": project_id}
    session.execute(sa.update(IdempotencyKey).where(_is(owner, key)).values(kept))


def prune(session: Session, older_than: timedelta, most: int = 1000) -> int:
    """Forget keys that are older, so many at most; returns how many."""
    key = (IdempotencyKey.owner, IdempotencyKey.key)
    old = sa.select(*key).where(IdempotencyKey.created_at < sa.func.now() - older_than).limit(most)
    done: Any = session.execute(sa.delete(IdempotencyKey).where(sa.tuple_(*key).in_(old)))
    return int(done.rowcount)


def _is(owner: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(IdempotencyKey.owner == owner, IdempotencyKey.key == key)
