"""Checkpoints by content: the same architecture, options and weights are the same row."""

import hashlib
import json

import sqlalchemy as sa
from sqlalchemy.orm import Session

from store.tables import Checkpoint, Json, Project


def stored(
    session: Session,
    project_id: int,
    *,
    architecture: str,
    options: Json,
    loss: str | None,
    weights: str,
    kernel: Json,
    extras: Json | None = None,
) -> Checkpoint:
    """The checkpoint's row, made if need be; its kernel options are those given last."""
    content: Json = {"architecture": architecture, "options": options, "loss": loss, "weights": weights}
    # What an upload is named by stays what it was: extras count only where there are some.
    named = content | ({"extras": extras} if extras else {})
    name = "ckpt-" + hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]
    session.execute(sa.select(Project.id).where(Project.id == project_id).with_for_update())
    found = session.scalars(
        sa.select(Checkpoint).where(Checkpoint.project_id == project_id, Checkpoint.name == name)
    ).first()
    if found is None:
        found = Checkpoint(project_id=project_id, name=name, kernel=kernel, extras=extras or {}, **content)
        session.add(found)
    found.kernel = kernel
    session.flush()
    return found
