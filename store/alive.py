"""Projects that are deleted: their rows go batch by batch, and nothing shows them or works on them meanwhile."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.tables import Project


def alive(project_id: sa.orm.InstrumentedAttribute[int]) -> sa.ColumnElement[bool]:
    """Condition: the project of this row is not deleted."""
    return project_id.not_in(sa.select(Project.id).where(Project.deleted_at.is_not(None)))


def is_alive(session: Session, project_id: int) -> bool:
    """Whether there is a project of this id that is not deleted."""
    there: Any = sa.exists().where(Project.id == project_id, Project.deleted_at.is_(None))
    return bool(session.scalar(sa.select(there)))


def freed(project: Project) -> str:
    """What a deleted project is called: a name that no request can spell, so that its own can be used again."""
    return f"#{project.id} {project.name}"


def called(name: str) -> str:
    """What people call a project, also if it is deleted: the end of one of its jobs is told of under that name."""
    return name.partition(" ")[2] if name.startswith("#") else name
