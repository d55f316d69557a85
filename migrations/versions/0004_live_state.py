"""Several annotators' opinions, the learning curve, scoped keys, audit, requests answered once."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("key_prefix", sa.Text(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=True, comment="network address"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_project", "audit_entries", ["project", "id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.Text(), nullable=False, comment="prefix of the API key; empty without keys"),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False, comment="SHA-256 of what was asked"),
        sa.Column("answer", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "opinions",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("item_position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("annotator", sa.Text(), nullable=False, comment="empty: nobody was named"),
        sa.Column("class_index", sa.Integer(), nullable=True),
        sa.Column("skipped", sa.Boolean(), server_default="false", nullable=False),
        sa.Column(
            "own",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="a skip that holds for its annotator only",
        ),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="the annotator's latest event of the item"),
        sa.Column(
            "since",
            sa.BigInteger(),
            nullable=False,
            comment="the event from which the annotator has said just this",
        ),
        sa.CheckConstraint("(class_index IS NULL) = skipped", name=op.f("ck_opinions_class_or_skip")),
        sa.CheckConstraint("NOT own OR skipped", name=op.f("ck_opinions_own_skip")),
        sa.ForeignKeyConstraint(
            ["project_id", "item_position"],
            ["items.project_id", "items.position"],
            name=op.f("fk_opinions_project_id_item_position_items"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_opinions_project_id_projects")),
        sa.PrimaryKeyConstraint("project_id", "item_position", "annotator", name=op.f("pk_opinions")),
    )
    op.create_index("ix_opinions_project_id_annotator", "opinions", ["project_id", "annotator"], unique=False)
    op.create_index(
        "ix_opinions_own_skips", "opinions", ["project_id", "annotator"], unique=False, postgresql_where=sa.text("own")
    )
    op.create_index("ix_label_events_item", "label_events", ["project_id", "item_position"], unique=False)
    op.create_table(
        "curve_points",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("state_id", sa.Integer(), nullable=False),
        sa.Column("label_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("labeled_count", sa.Integer(), nullable=False),
        sa.Column("leave_one_out_accuracy", sa.Float(precision=53), nullable=True),
        sa.Column(
            "changed_predictions",
            sa.Float(precision=53),
            nullable=True,
            comment="share of candidates whose predicted class differs from the checkpoint's",
        ),
        sa.Column(
            "flipped",
            sa.Float(precision=53),
            nullable=True,
            comment="share of candidates whose predicted class the labels since the point before changed",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_curve_points_project_id_projects")),
        sa.ForeignKeyConstraint(
            ["state_id"], ["kernel_states.id"], name=op.f("fk_curve_points_state_id_kernel_states")
        ),
        sa.PrimaryKeyConstraint("project_id", "state_id", "label_seq", name=op.f("pk_curve_points")),
    )
    op.add_column(
        "api_keys",
        sa.Column("scopes", postgresql.JSONB(astext_type=sa.Text()), server_default='["admin"]', nullable=False),
    )
    op.add_column(
        "api_keys",
        sa.Column(
            "projects",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
            comment="names; null means all",
        ),
    )
    op.add_column("api_keys", sa.Column("requests_per_minute", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "api_keys", sa.Column("replaced_by", sa.Text(), nullable=True, comment="prefix of the key that took its place")
    )
    op.create_unique_constraint(op.f("uq_api_keys_prefix"), "api_keys", ["prefix"])
    op.add_column("jobs", sa.Column("request_id", sa.Text(), nullable=True, comment="the request that asked for it"))
    op.add_column(
        "jobs",
        sa.Column(
            "trace",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
            comment="trace context to continue",
        ),
    )
    op.add_column(
        "kernel_states",
        sa.Column(
            "condition", sa.Float(precision=53), nullable=True, comment="condition number of the factored matrix"
        ),
    )
    op.add_column(
        "label_events",
        sa.Column(
            "own",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="a skip that holds for its annotator only",
        ),
    )
    op.add_column(
        "label_events",
        sa.Column("key_id", sa.Integer(), nullable=True, comment="the API key that sent the event, if keys are on"),
    )
    op.create_foreign_key(op.f("fk_label_events_key_id_api_keys"), "label_events", "api_keys", ["key_id"], ["id"])
    op.add_column(
        "items",
        sa.Column(
            "withdrawn_seq",
            sa.BigInteger(),
            nullable=True,
            comment="the latest event that withdrew a label or a skip that held for all",
        ),
    )
    op.add_column(
        "projects",
        sa.Column(
            "labeling",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default='{"rule": "latest"}',
            nullable=False,
            comment="how several annotators' labels of one item make one",
        ),
    )
    op.add_column(
        "suggestions",
        sa.Column(
            "released_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="given back, or renewed by a later suggestion",
        ),
    )
    op.create_check_constraint(
        op.f("ck_label_events_own_skip"), "label_events", "NOT own OR (kind = 'skip' AND annotator IS NOT NULL)"
    )
    _open_suggestions("lease_until IS NOT NULL AND resolved_seq IS NULL AND released_at IS NULL")
    op.create_index("ix_suggestions_job_id", "suggestions", ["job_id"], unique=False)
    op.create_index("ix_suggestions_created_at", "suggestions", ["created_at"], unique=False, postgresql_using="brin")
    op.create_index("ix_jobs_created_at", "jobs", ["created_at"], unique=False, postgresql_using="brin")
    op.execute(_OPINIONS_SO_FAR)
    op.execute(_WITHDRAWALS_SO_FAR)


# What each annotator said last of an item, unless they took it back or a withdrawal without a name came later.
_OPINIONS_SO_FAR = """
    INSERT INTO opinions (project_id, item_position, annotator, class_index, skipped, seq, since)
    SELECT said.project_id, said.item_position, said.annotator, said.class_index, said.kind = 'skip', said.seq, said.seq
    FROM (
        SELECT DISTINCT ON (project_id, item_position, coalesce(annotator, ''))
            project_id, item_position, coalesce(annotator, '') AS annotator, class_index, kind, seq
        FROM label_events
        ORDER BY project_id, item_position, coalesce(annotator, ''), seq DESC
    ) AS said
    WHERE said.kind <> 'withdraw' AND NOT EXISTS (
        SELECT FROM label_events AS later
        WHERE later.project_id = said.project_id AND later.item_position = said.item_position
            AND later.kind = 'withdraw' AND later.annotator IS NULL AND later.seq > said.seq
    )
"""

_WITHDRAWALS_SO_FAR = """
    UPDATE items SET withdrawn_seq = withdrawn.seq
    FROM (
        SELECT project_id, item_position, max(seq) AS seq
        FROM label_events WHERE kind = 'withdraw' GROUP BY project_id, item_position
    ) AS withdrawn
    WHERE items.project_id = withdrawn.project_id AND items.position = withdrawn.item_position
"""


def _open_suggestions(where: str) -> None:
    op.drop_index("ix_suggestions_open", "suggestions")
    op.create_index(
        "ix_suggestions_open", "suggestions", ["project_id", "item_position"], postgresql_where=sa.text(where)
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_created_at", table_name="jobs")
    op.drop_index("ix_suggestions_created_at", table_name="suggestions")
    op.drop_index("ix_suggestions_job_id", table_name="suggestions")
    _open_suggestions("lease_until IS NOT NULL AND resolved_seq IS NULL")
    op.drop_column("suggestions", "released_at")
    op.drop_column("projects", "labeling")
    op.drop_column("items", "withdrawn_seq")
    op.drop_index("ix_label_events_item", table_name="label_events")
    op.drop_constraint(op.f("fk_label_events_key_id_api_keys"), "label_events", type_="foreignkey")
    op.drop_column("label_events", "key_id")
    op.drop_column("label_events", "own")
    op.drop_column("kernel_states", "condition")
    op.drop_column("jobs", "trace")
    op.drop_column("jobs", "request_id")
    op.drop_constraint(op.f("uq_api_keys_prefix"), "api_keys", type_="unique")
    op.drop_column("api_keys", "replaced_by")
    op.drop_column("api_keys", "expires_at")
    op.drop_column("api_keys", "requests_per_minute")
    op.drop_column("api_keys", "projects")
    op.drop_column("api_keys", "scopes")
    op.drop_table("curve_points")
    op.drop_index("ix_opinions_own_skips", table_name="opinions", postgresql_where=sa.text("own"))
    op.drop_index("ix_opinions_project_id_annotator", table_name="opinions")
    op.drop_table("opinions")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_audit_entries_project", table_name="audit_entries")
    op.drop_table("audit_entries")
