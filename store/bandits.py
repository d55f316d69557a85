"""What albl remembers of a project, written by whoever read it last."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from store.errors import StaleStateError
from store.tables import Bandit, Json


def read(session: Session, project_id: int) -> tuple[int, Json | None]:
    """(version, memory): (0, None) before the first pick."""
    found = session.get(Bandit, project_id)
    return (0, None) if found is None else (found.version, found.memory)


def write(session: Session, project_id: int, version: int, memory: Json) -> None:
    """Replace what was read as `version`. Raises StaleStateError when another worker was first."""
    values = {"version": version + 1, "memory": memory}
    if version:
        known = sa.update(Bandit).where(Bandit.project_id == project_id, Bandit.version == version)
        written = session.execute(known.values(**values).returning(Bandit.version))
    else:
        first = insert(Bandit).values(project_id=project_id, **values).on_conflict_do_nothing()
        written = session.execute(first.returning(Bandit.version))
    if written.scalar_one_or_none() is None:
        raise StaleStateError(f"another worker has written what albl learned in project {project_id}")
