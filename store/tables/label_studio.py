"""Projects of Label Studio that are connected, with what their tasks and annotations are to us."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKey, Identity, Index, Integer, func
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, Json


class LabelStudioConnection(Base):
    """One project of a Label Studio server that labels one of ours."""

    __tablename__ = "label_studio_connections"
    __table_args__ = (CheckConstraint("kind IN ('text', 'image')", name="kind"),)

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    prefix: Mapped[str] = mapped_column(unique=True, comment="how people and logs name it")
    digest: Mapped[str] = mapped_column(unique=True, comment="SHA-256 of the token in the backend's address")
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    url: Mapped[str]
    api_token: Mapped[str] = mapped_column(comment="secret: needed as it is to ask Label Studio")
    label_studio_project: Mapped[int] = mapped_column(BigInteger)
    from_name: Mapped[str]
    to_name: Mapped[str]
    data_key: Mapped[str]
    kind: Mapped[str]
    choices: Mapped[list[str]] = mapped_column(comment="as the labeling configuration has them")
    add_tasks: Mapped[bool] = mapped_column(comment="tasks that the pool does not know are added to it")
    private_allowed: Mapped[bool] = mapped_column(comment="its address may be a private one")
    strategies: Mapped[Json] = mapped_column(comment="the strategy of the order, with the options of those it may be")
    own_skips: Mapped[bool] = mapped_column(server_default="true", comment="a skip holds for its annotator only")
    users: Mapped[Json] = mapped_column(server_default="{}", comment="user id -> annotator, kept once given")
    problem: Mapped[str | None] = mapped_column(comment="what went wrong last, for people")
    synced_until: Mapped[datetime | None] = mapped_column(comment="the newest change of a task that was read")
    synced_at: Mapped[datetime | None]
    compared_at: Mapped[datetime | None] = mapped_column(comment="when all tasks were gone through last")
    sync_due_at: Mapped[datetime | None]
    order_due_at: Mapped[datetime | None]
    order_not_before: Mapped[datetime | None]
    model_version: Mapped[str | None] = mapped_column(comment="of the predictions whose order is in force")
    order_seq: Mapped[int | None] = mapped_column(BigInteger, comment="the label that the order knows last")
    order_state_id: Mapped[int | None] = mapped_column(comment="the kernel state that the order is from")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class LabelStudioTask(Base):
    """A task, and the item that it is in our pool, if it is there."""

    __tablename__ = "label_studio_tasks"
    __table_args__ = (Index("ix_label_studio_tasks_item_position", "connection_id", "item_position"),)

    connection_id: Mapped[int] = mapped_column(
        ForeignKey("label_studio_connections.id", ondelete="CASCADE"), primary_key=True
    )
    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    item_position: Mapped[int | None]
    score: Mapped[float | None] = mapped_column(Float(53), comment="its place in the order in force, from 0")
    gone: Mapped[bool] = mapped_column(server_default="false", comment="deleted in Label Studio")


class LabelStudioAnnotation(Base):
    """An annotation as it was seen last. Deleted ones stay: what comes late of them must not bring them back."""

    __tablename__ = "label_studio_annotations"
    __table_args__ = (
        CheckConstraint("said IN ('label', 'skip', 'none')", name="said"),
        Index("ix_label_studio_annotations_task_id", "connection_id", "task_id"),
    )

    connection_id: Mapped[int] = mapped_column(
        ForeignKey("label_studio_connections.id", ondelete="CASCADE"), primary_key=True
    )
    annotation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    task_id: Mapped[int | None] = mapped_column(BigInteger)
    annotator: Mapped[str | None]
    said: Mapped[str]
    choice: Mapped[str | None]
    updated_at: Mapped[datetime | None]
    deleted: Mapped[bool] = mapped_column(server_default="false")
