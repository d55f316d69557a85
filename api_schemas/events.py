"""Live events."""

from api_schemas.common import Answer


class ProjectEvent(Answer):
    """Where a project stands; sent whenever one of these has changed."""

    project: str
    label_seq: int
    pool_version: int
    kernel: str | None
    applied_seq: int | None
    open_suggestions: int
