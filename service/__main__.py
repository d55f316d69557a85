"""`python -m service`: serve on HOST:PORT."""

import os
import socket
import sys

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.settings import ServiceSettings
from store.settings import from_environment
from telemetry import logs

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def application() -> FastAPI:
    """The service of one process, whose lines of the log say which."""
    settings = from_environment(ServiceSettings)
    _log(settings)
    return create_app(settings)


def _log(settings: ServiceSettings) -> None:
    process = f"service-{socket.gethostname()}-{os.getpid()}"
    logs.configure(settings.lookahead_log_format, settings.lookahead_log_level, process)


def main() -> int:
    """Serve until told to stop."""
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    settings = from_environment(ServiceSettings)
    if settings.lookahead_auth == "off" and host not in LOOPBACK:
        sys.stderr.write(f"Refusing to listen on {host} without keys: set LOOKAHEAD_AUTH=on.\n")
        return 1
    _log(settings)
    uvicorn.run(
        # By name, so that each process makes its own.
        "service.__main__:application",
        factory=True,
        host=host,
        port=port,
        workers=settings.lookahead_service_processes,
        # Requests leave a line of our own; its handlers would write around ours.
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
        # On a busy machine a process may take a while to start: that is no reason to start it anew.
        timeout_worker_healthcheck=30,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
