"""Print the schema of the HTTP interface: `python -m service.openapi`. Connects to nothing."""

import json
import sys
from typing import Any

from service.app import create_app
from service.settings import ServiceSettings


def schema() -> dict[str, Any]:
    """The schema, of every route."""
    nowhere = ServiceSettings(
        database_url="postgresql+psycopg:///", redis_url="redis://127.0.0.1:1", artifacts_url="file:///nonexistent"
    )
    return create_app(nowhere).openapi()


def main() -> None:
    """One JSON document to standard output."""
    json.dump(schema(), sys.stdout)


if __name__ == "__main__":
    main()
