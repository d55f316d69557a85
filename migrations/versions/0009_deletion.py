"""Projects can be deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "projects",
        sa.Column(
            "deleted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="since then nothing shows it, and its rows go batch by batch",
        ),
    )
    op.add_column(
        "idempotency_keys",
        sa.Column("project_id", sa.Integer(), nullable=True, comment="the answer holds as long as this project"),
    )
    # Each row that is deleted is looked for in the tables that may refer to it.
    op.create_index("ix_suggestions_item", "suggestions", ["project_id", "item_position"])
    op.create_index("ix_curve_points_state_id", "curve_points", ["state_id"])


def downgrade() -> None:
    op.drop_index("ix_curve_points_state_id", table_name="curve_points")
    op.drop_index("ix_suggestions_item", table_name="suggestions")
    op.drop_column("idempotency_keys", "project_id")
    # Their names would be shown.
    op.execute(
        "UPDATE projects SET name = replace(replace(name, '#', 'deleted-'), ' ', '-') WHERE deleted_at IS NOT NULL"
    )
    op.drop_column("projects", "deleted_at")
