"""Jobs."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, Json


class Job(Base):
    """Work for a worker. This row is the truth; the queue only says that there is something to do."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="status"),
        Index("ix_jobs_open", "status", postgresql_where=text("status IN ('queued', 'running')")),
        Index("ix_jobs_project_id_created_at", "project_id", "created_at"),
        Index("ix_jobs_created_at", "created_at", postgresql_using="brin"),
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
    request_id: Mapped[str | None] = mapped_column(comment="the request that asked for it")
    trace: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True), comment="trace context to continue")
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
