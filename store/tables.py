"""The tables: projects, pools, checkpoints, the label log, kernel states, suggestions, jobs and keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Base(DeclarativeBase):
    """Names every constraint by rule, so that migrations can refer to it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own hook
        datetime: DateTime(timezone=True),
        str: Text,
        Json: JSONB,
        list[str]: JSONB,
        list[int]: JSONB,
    }


class Project(Base):
    """Classes, defaults and the counters that are advanced under its row lock."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    classes: Mapped[list[str]]
    kernel: Mapped[Json]
    defaults: Mapped[Json]
    label_seq: Mapped[int] = mapped_column(BigInteger, server_default="0")
    pool_version: Mapped[int] = mapped_column(server_default="0")
    item_count: Mapped[int] = mapped_column(server_default="0")
    input_shape: Mapped[list[int] | None]
    active_state_id: Mapped[int | None] = mapped_column(
        ForeignKey("kernel_states.id", use_alter=True, name="fk_projects_active_state_id_kernel_states")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


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
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Item(Base):
    """One item of a pool. Label and skip are the fold of the log, written in the event's transaction."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("project_id", "external_id"),
        Index("ix_items_label_seq", "project_id", "label_seq", postgresql_where=text("label_seq IS NOT NULL")),
        CheckConstraint("label IS NULL OR NOT skipped", name="label_or_skip"),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    external_id: Mapped[str]
    held_out: Mapped[bool] = mapped_column(server_default="false")
    label: Mapped[int | None]
    label_seq: Mapped[int | None] = mapped_column(BigInteger, comment="the item's latest event")
    skipped: Mapped[bool] = mapped_column(server_default="false")
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


class LabelEvent(Base):
    """The append-only log. `seq` counts from 1 within a project, without gaps, in commit order."""

    __tablename__ = "label_events"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "item_position"], ["items.project_id", "items.position"]),
        CheckConstraint("kind IN ('label', 'skip', 'withdraw')", name="kind"),
        CheckConstraint("(kind = 'label') = (class_index IS NOT NULL)", name="class_given"),
        Index(
            "uq_label_events_event_id",
            "project_id",
            "event_id",
            unique=True,
            postgresql_where=text("event_id IS NOT NULL"),
        ),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    item_position: Mapped[int]
    kind: Mapped[str]
    class_index: Mapped[int | None]
    annotator: Mapped[str | None]
    event_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class KernelState(Base):
    """Window x checkpoint x kernel options; its factor is complete up to label `applied_seq`."""

    __tablename__ = "kernel_states"
    __table_args__ = (CheckConstraint("status IN ('preparing', 'ready', 'superseded', 'failed')", name="status"),)

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoints.id"))
    options: Mapped[Json]
    status: Mapped[str]
    pool_version: Mapped[int]
    base_seq: Mapped[int] = mapped_column(BigInteger)
    applied_seq: Mapped[int] = mapped_column(BigInteger)
    window: Mapped[str] = mapped_column(comment="artifact: item positions, int64 (N,)")
    outputs: Mapped[str | None] = mapped_column(comment="artifact: checkpoint outputs, float64 (N, C)")
    ridge: Mapped[float | None] = mapped_column(Float(53), comment="lambda itself, not relative")
    jitter: Mapped[float] = mapped_column(Float(53), server_default="0")
    labeled_count: Mapped[int] = mapped_column(server_default="0")
    revision: Mapped[int] = mapped_column(server_default="0", comment="counts withdrawals")
    leave_one_out_accuracy: Mapped[float | None] = mapped_column(Float(53))
    changed_predictions: Mapped[float | None] = mapped_column(
        Float(53), comment="share of candidates whose predicted class differs from the checkpoint's"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ready_at: Mapped[datetime | None]


class KernelPanel(Base):
    """Rows [row_start, row_stop) x columns [0, row_stop) of the window's Gram matrix."""

    __tablename__ = "kernel_panels"

    state_id: Mapped[int] = mapped_column(ForeignKey("kernel_states.id"), primary_key=True)
    row_start: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    row_stop: Mapped[int]
    artifact: Mapped[str]


class FactorRow(Base):
    """Row `position` of the Cholesky factor: position + 1 float64, little-endian. Never updated or deleted.

    A withdrawal appends the rebuilt tail under the next revision; the row in force at a position is the one
    with the highest revision.
    """

    __tablename__ = "factor_rows"

    state_id: Mapped[int] = mapped_column(ForeignKey("kernel_states.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    item_position: Mapped[int]
    row: Mapped[bytes] = mapped_column(LargeBinary)


class Job(Base):
    """Work for a worker. This row is the truth; the queue only says that there is something to do."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="status"),
        Index("ix_jobs_open", "status", postgresql_where=text("status IN ('queued', 'running')")),
        Index("ix_jobs_project_id_created_at", "project_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    queue: Mapped[str]
    arguments: Mapped[Json]
    status: Mapped[str] = mapped_column(server_default="queued")
    stage: Mapped[str] = mapped_column(server_default="queued")
    done: Mapped[int] = mapped_column(BigInteger, server_default="0")
    total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    unit: Mapped[str] = mapped_column(server_default="")
    attempt: Mapped[int] = mapped_column(server_default="0")
    cancel_requested: Mapped[bool] = mapped_column(server_default="false")
    error: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    result: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    worker: Mapped[str | None]
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Suggestion(Base):
    """An item that was suggested; a lease keeps it from other annotators until `lease_until`."""

    __tablename__ = "suggestions"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "item_position"], ["items.project_id", "items.position"]),
        Index(
            "ix_suggestions_open",
            "project_id",
            "item_position",
            postgresql_where=text("lease_until IS NOT NULL AND resolved_seq IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    item_position: Mapped[int]
    rank: Mapped[int]
    score: Mapped[float] = mapped_column(Float(53))
    strategy: Mapped[str]
    detail: Mapped[Json] = mapped_column(comment="predicted class, confidence and why")
    annotator: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    resolved_seq: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Bandit(Base):
    """What the strategy albl has learned in a project; `version` keeps two workers from learning twice."""

    __tablename__ = "bandits"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    version: Mapped[int]
    memory: Mapped[Json]


class ApiKey(Base):
    """A bearer key: only its SHA-256 is kept; the prefix tells people which one it is."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]
