"""Initial tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("classes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("kernel", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("defaults", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("label_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pool_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("item_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("input_shape", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("active_state_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("architecture", sa.Text(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("loss", sa.Text(), nullable=True),
        sa.Column("kernel", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("weights", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_checkpoints_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_checkpoints_project_id_name")),
    )
    op.create_table(
        "items",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("held_out", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("label", sa.Integer(), nullable=True),
        sa.Column("label_seq", sa.BigInteger(), nullable=True, comment="the item's latest event"),
        sa.Column("skipped", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint("label IS NULL OR NOT skipped", name=op.f("ck_items_label_or_skip")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_items_project_id_projects")),
        sa.PrimaryKeyConstraint("project_id", "position", name=op.f("pk_items")),
        sa.UniqueConstraint("project_id", "external_id", name=op.f("uq_items_project_id_external_id")),
    )
    op.create_index(
        "ix_items_label_seq",
        "items",
        ["project_id", "label_seq"],
        unique=False,
        postgresql_where=sa.text("label_seq IS NOT NULL"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("stage", sa.Text(), server_default="queued", nullable=False),
        sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unit", sa.Text(), server_default="", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("result", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_jobs_status")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["status"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index("ix_jobs_project_id_created_at", "jobs", ["project_id", "created_at"], unique=False)
    op.create_table(
        "pool_chunks",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("dtype", sa.Text(), nullable=False),
        sa.Column("held_out", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_pool_chunks_project_id_projects")),
        sa.PrimaryKeyConstraint("project_id", "version", name=op.f("pk_pool_chunks")),
    )
    op.create_table(
        "kernel_states",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Integer(), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("pool_version", sa.Integer(), nullable=False),
        sa.Column("base_seq", sa.BigInteger(), nullable=False),
        sa.Column("applied_seq", sa.BigInteger(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False, comment="artifact: item positions, int64 (N,)"),
        sa.Column("outputs", sa.Text(), nullable=True, comment="artifact: checkpoint outputs, float64 (N, C)"),
        sa.Column("ridge", sa.Float(precision=53), nullable=True, comment="lambda itself, not relative"),
        sa.Column("jitter", sa.Float(precision=53), server_default="0", nullable=False),
        sa.Column("labeled_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False, comment="counts withdrawals"),
        sa.Column("leave_one_out_accuracy", sa.Float(precision=53), nullable=True),
        sa.Column(
            "changed_predictions",
            sa.Float(precision=53),
            nullable=True,
            comment="share of candidates whose predicted class differs from the checkpoint's",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('preparing', 'ready', 'superseded', 'failed')", name=op.f("ck_kernel_states_status")
        ),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_kernel_states_checkpoint_id_checkpoints")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_kernel_states_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kernel_states")),
    )
    op.create_index(op.f("ix_kernel_states_project_id"), "kernel_states", ["project_id"], unique=False)
    op.create_table(
        "label_events",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("item_position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("class_index", sa.Integer(), nullable=True),
        sa.Column("annotator", sa.Text(), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(kind = 'label') = (class_index IS NOT NULL)", name=op.f("ck_label_events_class_given")),
        sa.CheckConstraint("kind IN ('label', 'skip', 'withdraw')", name=op.f("ck_label_events_kind")),
        sa.ForeignKeyConstraint(
            ["project_id", "item_position"],
            ["items.project_id", "items.position"],
            name=op.f("fk_label_events_project_id_item_position_items"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_label_events_project_id_projects")),
        sa.PrimaryKeyConstraint("project_id", "seq", name=op.f("pk_label_events")),
    )
    op.create_index(
        "uq_label_events_event_id",
        "label_events",
        ["project_id", "event_id"],
        unique=True,
        postgresql_where=sa.text("event_id IS NOT NULL"),
    )
    op.create_table(
        "suggestions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("item_position", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column(
            "detail",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="predicted class, confidence and why",
        ),
        sa.Column("annotator", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_seq", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_suggestions_job_id_jobs")),
        sa.ForeignKeyConstraint(
            ["project_id", "item_position"],
            ["items.project_id", "items.position"],
            name=op.f("fk_suggestions_project_id_item_position_items"),
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_suggestions_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suggestions")),
    )
    op.create_index(
        "ix_suggestions_open",
        "suggestions",
        ["project_id", "item_position"],
        unique=False,
        postgresql_where=sa.text("lease_until IS NOT NULL AND resolved_seq IS NULL"),
    )
    op.create_table(
        "factor_rows",
        sa.Column("state_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("item_position", sa.Integer(), nullable=False),
        sa.Column("row", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["state_id"], ["kernel_states.id"], name=op.f("fk_factor_rows_state_id_kernel_states")),
        sa.PrimaryKeyConstraint("state_id", "position", "revision", name=op.f("pk_factor_rows")),
    )
    op.create_table(
        "kernel_panels",
        sa.Column("state_id", sa.Integer(), nullable=False),
        sa.Column("row_start", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("row_stop", sa.Integer(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["state_id"], ["kernel_states.id"], name=op.f("fk_kernel_panels_state_id_kernel_states")
        ),
        sa.PrimaryKeyConstraint("state_id", "row_start", name=op.f("pk_kernel_panels")),
    )
    op.create_foreign_key(
        op.f("fk_projects_active_state_id_kernel_states"),
        "projects",
        "kernel_states",
        ["active_state_id"],
        ["id"],
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_projects_active_state_id_kernel_states"), "projects")
    op.drop_table("kernel_panels")
    op.drop_table("factor_rows")
    op.drop_index(
        "ix_suggestions_open",
        table_name="suggestions",
        postgresql_where=sa.text("lease_until IS NOT NULL AND resolved_seq IS NULL"),
    )
    op.drop_table("suggestions")
    op.drop_index(
        "uq_label_events_event_id",
        table_name="label_events",
        postgresql_where=sa.text("event_id IS NOT NULL"),
    )
    op.drop_table("label_events")
    op.drop_index(op.f("ix_kernel_states_project_id"), table_name="kernel_states")
    op.drop_table("kernel_states")
    op.drop_table("pool_chunks")
    op.drop_index("ix_jobs_project_id_created_at", table_name="jobs")
    op.drop_index("ix_jobs_open", table_name="jobs", postgresql_where=sa.text("status IN ('queued', 'running')"))
    op.drop_table("jobs")
    op.drop_index("ix_items_label_seq", table_name="items", postgresql_where=sa.text("label_seq IS NOT NULL"))
    op.drop_table("items")
    op.drop_table("checkpoints")
    op.drop_table("projects")
    op.drop_table("api_keys")
