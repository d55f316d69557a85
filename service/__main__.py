"""`python -m service`: serve on HOST:PORT."""

import gc
import os
import socket
import sys

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.exposure import objection
from service.protocol import BoundedProtocol
from service.settings import ServiceSettings, listed
from store.database import connect
from store.settings import from_environment
from telemetry import logs


def application() -> FastAPI:
    """The service of one process, whose lines of the log say which."""
    settings = from_environment(ServiceSettings)
    _log(settings)
    app = create_app(settings)
    # What is loaded, stays: looking through it takes tenths of a second, in the midst of answers.
    gc.freeze()
    return app


def _log(settings: ServiceSettings) -> None:
    process = f"service-{socket.gethostname()}-{os.getpid()}"
    logs.configure(settings.lookahead_log_format, settings.lookahead_log_level, process)


def main() -> int:
    """Serve until told to stop."""
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    settings = from_environment(ServiceSettings)
    sessions = connect(settings.database_url, pool_size=1)
    refusal = objection(settings, host, sessions)
    sessions.kw["bind"].dispose()
    if refusal:
        sys.stderr.write(refusal + "\n")
        return 1
    _log(settings)
    proxies = listed(settings.lookahead_trusted_proxies)
    uvicorn.run(
        # By name, so that each process makes its own.
        "service.__main__:application",
        factory=True,
        host=host,
        port=port,
        workers=settings.lookahead_service_processes,
        http=BoundedProtocol,
        # Requests leave a line of our own; its handlers would write around ours.
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        # On a busy machine a process may take a while to start: that is no reason to start it anew.
        timeout_worker_healthcheck=30,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
