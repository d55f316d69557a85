"""The classes of a project: only ever appended, so that an index means the same class for good."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from store.rows import PROJECT
from store.tables import Project

_COUNT = sa.select(sa.func.jsonb_array_length(Project.classes)).where(Project.id == PROJECT)


def append(session: Session, project_id: int, names: Sequence[str]) -> None:
    """Add classes behind those there are; the caller holds the project's row lock and has checked the names."""
    session.execute(
        sa.update(Project)
        .where(Project.id == project_id)
        .values(classes=sa.cast(Project.classes, JSONB).op("||")(sa.literal(list(names), JSONB)))
        .execution_options(synchronize_session=False)
    )


def count(session: Session, project_id: int) -> int:
    """How many classes there are now. Read after labels, it covers every class that they name."""
    found: int = session.execute(_COUNT, {"project": project_id}).scalar_one()
    return found
