"""`python -m service`: serve on HOST:PORT."""

import logging
import os
import sys

import uvicorn

from service.app import create_app
from service.auth import HideKeys
from service.exposure import objection
from service.protocol import BoundedProtocol
from service.settings import ServiceSettings, listed
from store.settings import from_environment


def main() -> int:
    """Serve until told to stop."""
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    settings = from_environment(ServiceSettings)
    app = create_app(settings)
    if refusal := objection(settings, host, app.state.context.sessions):
        sys.stderr.write(refusal + "\n")
        return 1
    proxies = listed(settings.lookahead_trusted_proxies)
    logging.getLogger("uvicorn.access").addFilter(HideKeys())
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=BoundedProtocol,
        log_level="info",
        timeout_graceful_shutdown=10,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
