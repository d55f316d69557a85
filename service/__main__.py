"""`python -m service`: serve on HOST:PORT."""

import os
import sys

import uvicorn

from service.app import create_app
from service.settings import ServiceSettings
from store.settings import from_environment

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def main() -> int:
    """Serve until told to stop."""
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    settings = from_environment(ServiceSettings)
    if settings.lookahead_auth == "off" and host not in LOOPBACK:
        sys.stderr.write(f"Refusing to listen on {host} without keys: set LOOKAHEAD_AUTH=on.\n")
        return 1
    uvicorn.run(create_app(settings), host=host, port=port, log_level="info", timeout_graceful_shutdown=10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
