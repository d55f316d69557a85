"""Statistics say nothing of whose rows a table has: a project that came since they were made would be in none."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

OWNERS = [
    ("checkpoints", "project_id"),
    ("curve_points", "project_id"),
    ("curve_points", "state_id"),
    ("factor_rows", "state_id"),
    ("items", "project_id"),
    ("jobs", "project_id"),
    ("kernel_panels", "state_id"),
    ("kernel_states", "project_id"),
    ("label_events", "project_id"),
    ("label_studio_annotations", "connection_id"),
    ("label_studio_connections", "project_id"),
    ("label_studio_tasks", "connection_id"),
    ("opinions", "project_id"),
    ("pool_chunks", "project_id"),
    ("suggestions", "project_id"),
]


def upgrade() -> None:
    for table, column in OWNERS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
        # The type that it has: what statistics there are, are forgotten, and nothing is written anew.
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE INTEGER")


def downgrade() -> None:
    for table, column in OWNERS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS -1")
