"""The label log, what each annotator thinks, suggestions with their leases, and the learning curve."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from store.tables.base import Base, Json


class LabelEvent(Base):
    """The append-only log. `seq` counts from 1 within a project, without gaps, in commit order."""

    __tablename__ = "label_events"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "item_position"], ["items.project_id", "items.position"]),
        CheckConstraint("kind IN ('label', 'skip', 'withdraw')", name="kind"),
        CheckConstraint("(kind = 'label') = (class_index IS NOT NULL)", name="class_given"),
        CheckConstraint("NOT own OR (kind = 'skip' AND annotator IS NOT NULL)", name="own_skip"),
        Index(
            "uq_label_events_event_id",
            "project_id",
            "event_id",
            unique=True,
            postgresql_where=text("event_id IS NOT NULL"),
        ),
        Index("ix_label_events_item", "project_id", "item_position"),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    item_position: Mapped[int]
    kind: Mapped[str]
    class_index: Mapped[int | None]
    annotator: Mapped[str | None]
    event_id: Mapped[str | None]
    own: Mapped[bool] = mapped_column(server_default="false", comment="a skip that holds for its annotator only")
    key_id: Mapped[int | None] = mapped_column(
        ForeignKey("api_keys.id"), comment="the API key that sent the event, if keys are on"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Suggestion(Base):
    """An item that was suggested; a lease keeps it from other annotators until `lease_until`."""

    __tablename__ = "suggestions"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "item_position"], ["items.project_id", "items.position"]),
        Index(
            "ix_suggestions_open",
            "project_id",
            "item_position",
            postgresql_where=text("lease_until IS NOT NULL AND resolved_seq IS NULL AND released_at IS NULL"),
        ),
        Index("ix_suggestions_item", "project_id", "item_position"),
        Index("ix_suggestions_job_id", "job_id"),
        # Rows arrive in the order of their times: a few bytes per block of them do for pruning.
        Index("ix_suggestions_created_at", "created_at", postgresql_using="brin"),
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
    released_at: Mapped[datetime | None] = mapped_column(comment="given back, or renewed by a later suggestion")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Bandit(Base):
    """What the strategy albl has learned in a project; `version` keeps two workers from learning twice."""

    __tablename__ = "bandits"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    version: Mapped[int]
    memory: Mapped[Json]


class Opinion(Base):
    """What one annotator says of one item as of `seq`: a class, or a skip. The fold of that annotator's events."""

    __tablename__ = "opinions"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "item_position"], ["items.project_id", "items.position"]),
        Index("ix_opinions_project_id_annotator", "project_id", "annotator"),
        Index("ix_opinions_own_skips", "project_id", "annotator", postgresql_where=text("own")),
        CheckConstraint("(class_index IS NULL) = skipped", name="class_or_skip"),
        CheckConstraint("NOT own OR skipped", name="own_skip"),
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    item_position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    annotator: Mapped[str] = mapped_column(primary_key=True, comment="empty: nobody was named")
    class_index: Mapped[int | None]
    skipped: Mapped[bool] = mapped_column(server_default="false")
    own: Mapped[bool] = mapped_column(server_default="false", comment="a skip that holds for its annotator only")
    seq: Mapped[int] = mapped_column(BigInteger, comment="the annotator's latest event of the item")
    since: Mapped[int] = mapped_column(BigInteger, comment="the event from which the annotator has said just this")


class CurvePoint(Base):
    """How the kernel model stood after the labels up to `label_seq`: one point of the learning curve."""

    __tablename__ = "curve_points"
    __table_args__ = (Index("ix_curve_points_state_id", "state_id"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    state_id: Mapped[int] = mapped_column(ForeignKey("kernel_states.id"), primary_key=True)
    label_seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    labeled_count: Mapped[int]
    leave_one_out_accuracy: Mapped[float | None] = mapped_column(Float(53))
    changed_predictions: Mapped[float | None] = mapped_column(
        Float(53), comment="share of candidates whose predicted class differs from the checkpoint's"
    )
    flipped: Mapped[float | None] = mapped_column(
        Float(53), comment="share of candidates whose predicted class the labels since the point before changed"
    )
    held_out_accuracy: Mapped[float | None] = mapped_column(
        Float(53), comment="share of held-out items with a known class that are predicted right"
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
