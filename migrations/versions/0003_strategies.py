"""What trained checkpoints bring along, and what albl learns."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "checkpoints",
        sa.Column(
            "extras",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="artifacts beside the weights: input standardisation, loss predictor",
        ),
    )
    op.create_table(
        "bandits",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("memory", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_bandits_project_id_projects")),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_bandits")),
    )


def downgrade() -> None:
    op.drop_table("bandits")
    op.drop_column("checkpoints", "extras")
