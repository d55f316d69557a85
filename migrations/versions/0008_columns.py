"""Names of the numbers that items are made of."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "pool_chunks",
        sa.Column(
            "columns",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
            comment="what the numbers of all the pool's items are called",
        ),
    )


def downgrade() -> None:
    op.drop_column("pool_chunks", "columns")
