"""Connections to Label Studio."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(astext_type=sa.Text())
_TIME = sa.DateTime(timezone=True)


def _of_connection(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["connection_id"],
        ["label_studio_connections.id"],
        name=op.f(f"fk_{table}_connection_id_label_studio_connections"),
        ondelete="CASCADE",
    )


def upgrade() -> None:
    op.create_table(
        "label_studio_connections",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False, comment="how people and logs name it"),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the token in the backend's address"),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("api_token", sa.Text(), nullable=False, comment="secret: needed as it is to ask Label Studio"),
        sa.Column("label_studio_project", sa.BigInteger(), nullable=False),
        sa.Column("from_name", sa.Text(), nullable=False),
        sa.Column("to_name", sa.Text(), nullable=False),
        sa.Column("data_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("choices", _JSON, nullable=False, comment="as the labeling configuration has them"),
        sa.Column(
            "add_tasks", sa.Boolean(), nullable=False, comment="tasks that the pool does not know are added to it"
        ),
        sa.Column("private_allowed", sa.Boolean(), nullable=False, comment="its address may be a private one"),
        sa.Column(
            "strategies",
            _JSON,
            nullable=False,
            comment="the strategy of the order, with the options of those it may be",
        ),
        sa.Column(
            "own_skips",
            sa.Boolean(),
            server_default="true",
            nullable=False,
            comment="a skip holds for its annotator only",
        ),
        sa.Column("users", _JSON, server_default="{}", nullable=False, comment="user id -> annotator, kept once given"),
        sa.Column("problem", sa.Text(), nullable=True, comment="what went wrong last, for people"),
        sa.Column("synced_until", _TIME, nullable=True, comment="the newest change of a task that was read"),
        sa.Column("synced_at", _TIME, nullable=True),
        sa.Column("compared_at", _TIME, nullable=True, comment="when all tasks were gone through last"),
        sa.Column("sync_due_at", _TIME, nullable=True),
        sa.Column("order_due_at", _TIME, nullable=True),
        sa.Column("order_not_before", _TIME, nullable=True),
        sa.Column("model_version", sa.Text(), nullable=True, comment="of the predictions whose order is in force"),
        sa.Column("order_seq", sa.BigInteger(), nullable=True, comment="the label that the order knows last"),
        sa.Column("order_state_id", sa.Integer(), nullable=True, comment="the kernel state that the order is from"),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('text', 'image')", name=op.f("ck_label_studio_connections_kind")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_label_studio_connections_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_studio_connections")),
        sa.UniqueConstraint("digest", name=op.f("uq_label_studio_connections_digest")),
        sa.UniqueConstraint("prefix", name=op.f("uq_label_studio_connections_prefix")),
    )
    op.create_index(
        op.f("ix_label_studio_connections_project_id"), "label_studio_connections", ["project_id"], unique=False
    )
    op.create_table(
        "label_studio_tasks",
        sa.Column("connection_id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("item_position", sa.Integer(), nullable=True),
        sa.Column("score", sa.Float(53), nullable=True, comment="its place in the order in force, from 0"),
        sa.Column("gone", sa.Boolean(), server_default="false", nullable=False, comment="deleted in Label Studio"),
        _of_connection("label_studio_tasks"),
        sa.PrimaryKeyConstraint("connection_id", "task_id", name=op.f("pk_label_studio_tasks")),
    )
    op.create_index(
        "ix_label_studio_tasks_item_position", "label_studio_tasks", ["connection_id", "item_position"], unique=False
    )
    op.create_table(
        "label_studio_annotations",
        sa.Column("connection_id", sa.Integer(), nullable=False),
        sa.Column("annotation_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=True),
        sa.Column("annotator", sa.Text(), nullable=True),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=True),
        sa.Column("updated_at", _TIME, nullable=True),
        sa.Column("deleted", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint("said IN ('label', 'skip', 'none')", name=op.f("ck_label_studio_annotations_said")),
        _of_connection("label_studio_annotations"),
        sa.PrimaryKeyConstraint("connection_id", "annotation_id", name=op.f("pk_label_studio_annotations")),
    )
    op.create_index(
        "ix_label_studio_annotations_task_id", "label_studio_annotations", ["connection_id", "task_id"], unique=False
    )


def downgrade() -> None:
    op.drop_table("label_studio_annotations")
    op.drop_table("label_studio_tasks")
    op.drop_table("label_studio_connections")
