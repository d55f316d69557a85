"""Lists as rows of SQL, for statements that are made once: making one costs more than running it."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

PROJECT = sa.bindparam("project", type_=sa.Integer)


def rows(name: str, **columns: Any) -> sa.TableValuedAlias:
    """Lists that `listed` hands over, as rows of SQL: column -> type."""
    arrays = [sa.bindparam(f"{name}_{key}", type_=sa.ARRAY(kind)) for key, kind in columns.items()]
    made = sa.func.unnest(*arrays).table_valued(*(sa.column(key, kind) for key, kind in columns.items()))
    return made.render_derived(name=name)


def listed(name: str, **columns: Iterable[Any]) -> dict[str, list[Any]]:
    """The parameters of `rows`."""
    return {f"{name}_{key}": list(values) for key, values in columns.items()}


def voices_of(name: str) -> sa.TableValuedAlias:
    """Rows of (position, annotator)."""
    return rows(name, position=sa.Integer, annotator=sa.Text)


def listed_voices(name: str, voices: Iterable[tuple[int, str | None]]) -> dict[str, list[Any]]:
    """The parameters of `voices_of`."""
    pairs = list(voices)
    return listed(name, position=(p for p, _ in pairs), annotator=(a for _, a in pairs))
