"""`python -m service`: serve on HOST:PORT."""

import os
import socket
import sys

import uvicorn

from service.app import create_app
from service.settings import ServiceSettings
from store.settings import from_environment
from telemetry import logs

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def main() -> int:
    """Serve until told to stop."""
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    settings = from_environment(ServiceSettings)
    if settings.lookahead_auth == "off" and host not in LOOPBACK:
        sys.stderr.write(f"Refusing to listen on {host} without keys: set LOOKAHEAD_AUTH=on.\n")
        return 1
    logs.configure(
        settings.lookahead_log_format, settings.lookahead_log_level, f"service-{socket.gethostname()}-{os.getpid()}"
    )
    # Requests leave a line of our own; its handlers would write around ours.
    uvicorn.run(
        create_app(settings), host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=10
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
