"""True classes of held-out items, and how often the kernel model is right about them.

They lie beside the items, not in the label log: nothing that a kernel model or a suggestion is made from reads them.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.database import expect_rows
from store.rows import PROJECT, listed, rows
from store.tables import CurvePoint, Item, KernelState, Project

# Items that accuracy is computed from; of more, so many are drawn.
SAMPLE_MAX = 2000


def put(session: Session, project_id: int, labels: Mapping[int, int | None]) -> None:
    """Set what held-out items are, by position; None forgets."""
    expect_rows(session, len(labels))
    given = rows("given", position=sa.Integer, label=sa.Integer)
    session.execute(
        sa.update(Item)
        .where(Item.project_id == PROJECT, Item.position == given.c.position, Item.held_out)
        .values(held_out_label=given.c.label)
        .execution_options(synchronize_session=False),
        {"project": project_id, **listed("given", position=labels.keys(), label=labels.values())},
    )
    session.execute(
        sa.update(Project).where(Project.id == project_id).values(held_out_changes=Project.held_out_changes + 1)
    )


def count(session: Session, project_id: int) -> int:
    """Held-out items whose class is known."""
    return session.scalar(sa.select(sa.func.count()).where(*_known(project_id))) or 0


def changes(session: Session, project_id: int) -> int:
    """How often they have changed."""
    return session.scalar(sa.select(Project.held_out_changes).where(Project.id == project_id)) or 0


def sample(session: Session, project_id: int, seed: int, most: int = SAMPLE_MAX) -> list[tuple[int, int]]:
    """(position, class) of the held-out items that accuracy is computed from, by position; the same for one seed."""
    # A hash and not a random number: an item stays in the sample when others come.
    order = sa.func.md5(sa.func.concat(seed, "-", Item.position))
    drawn = sa.select(Item.position, Item.held_out_label).where(*_known(project_id)).order_by(order).limit(most)
    return sorted((row[0], row[1]) for row in session.execute(drawn) if row[1] is not None)


def _known(project_id: int) -> Sequence[sa.ColumnElement[bool]]:
    return Item.project_id == project_id, Item.held_out_label.is_not(None)


def record(session: Session, state_id: int, accuracies: Mapping[int, float | None]) -> None:
    """Accuracy by label_seq, into the points of the learning curve; the last is the state's own."""
    for label_seq, accuracy in accuracies.items():
        session.execute(
            sa.update(CurvePoint)
            .where(CurvePoint.state_id == state_id, CurvePoint.label_seq == label_seq)
            .values(held_out_accuracy=accuracy)
        )
    session.execute(
        sa.update(KernelState).where(KernelState.id == state_id).values(held_out_accuracy=accuracies[max(accuracies)])
    )
