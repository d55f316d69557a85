"""Kernel models from inside, and what held-out items truly are."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())


def upgrade() -> None:
    op.create_table(
        "state_insights",
        sa.Column("state_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spectrum", _JSON, nullable=True, comment="eigenvalues of the kernel, and of how many items"),
        sa.Column("scores", _JSON, nullable=True, comment="histogram of the last suggestion's scores"),
        sa.Column("predicted", _JSON, nullable=True, comment="candidates by predicted class"),
        sa.Column(
            "condition",
            sa.Float(precision=53),
            nullable=True,
            comment="condition number of the factored matrix, of at most 256 labels",
        ),
        sa.ForeignKeyConstraint(
            ["state_id"], ["kernel_states.id"], name=op.f("fk_state_insights_state_id_kernel_states")
        ),
        sa.PrimaryKeyConstraint("state_id", name=op.f("pk_state_insights")),
    )
    for table in ("kernel_states", "curve_points"):
        op.add_column(
            table,
            sa.Column(
                "held_out_accuracy",
                sa.Float(precision=53),
                nullable=True,
                comment="share of held-out items with a known class that are predicted right",
            ),
        )
    op.add_column(
        "projects",
        sa.Column(
            "held_out_changes",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="how often the known classes of held-out items have changed",
        ),
    )
    op.add_column(
        "items",
        sa.Column("held_out_label", sa.Integer(), nullable=True, comment="what a held-out item truly is"),
    )
    op.create_check_constraint(op.f("ck_items_held_out_label"), "items", "held_out_label IS NULL OR held_out")
    op.create_index(
        "ix_items_held_out_label",
        "items",
        ["project_id", "position"],
        postgresql_where=sa.text("held_out_label IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_items_held_out_label", table_name="items")
    op.drop_constraint(op.f("ck_items_held_out_label"), "items", type_="check")
    op.drop_column("items", "held_out_label")
    op.drop_column("projects", "held_out_changes")
    for table in ("curve_points", "kernel_states"):
        op.drop_column(table, "held_out_accuracy")
    op.drop_table("state_insights")
