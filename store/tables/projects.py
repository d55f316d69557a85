"""Projects, their pools and their checkpoints."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, Json


class Project(Base):
    """Classes, defaults and the counters that are advanced under its row lock."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    classes: Mapped[list[str]]
    kernel: Mapped[Json]
    defaults: Mapped[Json]
    labeling: Mapped[Json] = mapped_column(
        server_default='{"rule": "latest"}', comment="how several annotators' labels of one item make one"
    )
    label_seq: Mapped[int] = mapped_column(BigInteger, server_default="0")
    held_out_changes: Mapped[int] = mapped_column(
        BigInteger, server_default="0", comment="how often the known classes of held-out items have changed"
    )
    pool_version: Mapped[int] = mapped_column(server_default="0")
    item_count: Mapped[int] = mapped_column(server_default="0")
    input_shape: Mapped[list[int] | None]
    active_state_id: Mapped[int | None] = mapped_column(
        ForeignKey("kernel_states.id", use_alter=True, name="fk_projects_active_state_id_kernel_states")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None] = mapped_column(
        comment="since then nothing shows it, and its rows go batch by batch"
    )


class PoolChunk(Base):
    """One accepted upload: a run of items whose inputs are rows of one array artifact."""

    __tablename__ = "pool_chunks"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start: Mapped[int]
    count: Mapped[int]
    artifact: Mapped[str]
    dtype: Mapped[str]
    held_out: Mapped[bool] = mapped_column(server_default="false")
    contents: Mapped[str | None] = mapped_column(comment="artifact with the items' texts or pictures, for people")
    # Up to two megabytes, and wanted seldom.
    columns: Mapped[list[str] | None] = mapped_column(
        JSONB(none_as_null=True), deferred=True, comment="what the numbers of all the pool's items are called"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Item(Base):
    """One item of a pool. Label and skip are the fold of the log, written in the event's transaction."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("project_id", "external_id"),
        Index("ix_items_label_seq", "project_id", "label_seq", postgresql_where=text("label_seq IS NOT NULL")),
        CheckConstraint("label IS NULL OR NOT skipped", name="label_or_skip"),
        CheckConstraint("held_out_label IS NULL OR held_out", name="held_out_label"),
        Index(
            "ix_items_held_out_label",
            "project_id",
            "position",
            postgresql_where=text("held_out_label IS NOT NULL"),
        ),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    external_id: Mapped[str]
    held_out: Mapped[bool] = mapped_column(server_default="false")
    held_out_label: Mapped[int | None] = mapped_column(comment="what a held-out item truly is")
    label: Mapped[int | None]
    label_seq: Mapped[int | None] = mapped_column(BigInteger, comment="the item's latest event")
    skipped: Mapped[bool] = mapped_column(server_default="false")
    withdrawn_seq: Mapped[int | None] = mapped_column(
        BigInteger, comment="the latest event that withdrew a label or a skip that held for all"
    )
    attributes: Mapped[Json] = mapped_column(server_default="{}")


class Checkpoint(Base):
    """An architecture with its weights: immutable, named by the hash of both."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    architecture: Mapped[str]
    options: Mapped[Json]
    loss: Mapped[str | None]
    kernel: Mapped[Json]
    weights: Mapped[str]
    extras: Mapped[Json] = mapped_column(
        server_default="{}", comment="artifacts beside the weights: input standardisation, loss predictor"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
