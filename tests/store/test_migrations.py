"""The migrations make exactly the tables that the code has."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import migrations
from migrations.__main__ import upgrade


def test_no_drift_and_running_twice_is_harmless(database_url: str) -> None:
    upgrade(database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["database_url"] = database_url
    command.check(config)
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    command.check(config)
