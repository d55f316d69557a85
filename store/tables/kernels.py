"""Kernel states: Gram panels as artifacts, factor rows as bytes."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Float, ForeignKey, Identity, Integer, LargeBinary, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, Json


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
    condition: Mapped[float | None] = mapped_column(Float(53), comment="condition number of the factored matrix")
    held_out_accuracy: Mapped[float | None] = mapped_column(
        Float(53), comment="share of held-out items with a known class that are predicted right"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ready_at: Mapped[datetime | None]


class StateInsight(Base):
    """What is told of a kernel state and nothing rests on."""

    __tablename__ = "state_insights"

    state_id: Mapped[int] = mapped_column(ForeignKey("kernel_states.id"), primary_key=True, autoincrement=False)
    spectrum: Mapped[Json | None] = mapped_column(
        JSONB(none_as_null=True), comment="eigenvalues of the kernel, and of how many items"
    )
    scores: Mapped[Json | None] = mapped_column(
        JSONB(none_as_null=True), comment="histogram of the last suggestion's scores"
    )
    predicted: Mapped[list[int] | None] = mapped_column(
        JSONB(none_as_null=True), comment="candidates by predicted class"
    )
    condition: Mapped[float | None] = mapped_column(
        Float(53), comment="condition number of the factored matrix, of at most 256 labels"
    )


class KernelPanel(Base):
    """Rows [row_start, row_stop) x columns [0, row_stop) of the window's Gram matrix."""

    __tablename__ = "kernel_panels"

    state_id: Mapped[int] = mapped_column(ForeignKey("kernel_states.id"), primary_key=True)
    row_start: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    row_stop: Mapped[int]
    artifact: Mapped[str]


class FactorRow(Base):
    """Row `position` of the Cholesky factor: position + 1 float64, little-endian. Never updated.

    A withdrawal appends the rebuilt tail under the next revision; the row in force at a position is the one
    with the highest revision; those that it overrules are pruned.
    """

    __tablename__ = "factor_rows"

    state_id: Mapped[int] = mapped_column(ForeignKey("kernel_states.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    item_position: Mapped[int]
    row: Mapped[bytes] = mapped_column(LargeBinary)
