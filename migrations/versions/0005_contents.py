"""Texts and pictures of items, for people."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "pool_chunks",
        sa.Column(
            "contents", sa.Text(), nullable=True, comment="artifact with the items' texts or pictures, for people"
        ),
    )


def downgrade() -> None:
    op.drop_column("pool_chunks", "contents")
