"""`python -m migrations`: bring the database that DATABASE_URL names to the newest schema."""

import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(database_url: str) -> None:
    """Run every migration that the database has not seen; safe to run twice and from several processes."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")


def main() -> int:
    """Exit status 0 when the schema is current."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.stderr.write("Set DATABASE_URL to the PostgreSQL database to migrate.\n")
        return 2
    upgrade(url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
