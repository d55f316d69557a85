"""The SDK: one method per route, typed answers, retries where they are safe."""

import os
from types import TracebackType
from typing import Self

from client.calls import OnProgress
from client.key_calls import KeyCalls
from client.label_loop import LabelLoop
from client.label_studio_calls import LabelStudioCalls
from client.lease_calls import LeaseCalls
from client.pool_calls import PoolCalls
from client.service_calls import ServiceCalls
from client.transport import Transport

__all__ = ["DEFAULT_URL", "Client", "OnProgress"]

DEFAULT_URL = "http://127.0.0.1:8000"


class Client(PoolCalls, LabelLoop, LeaseCalls, KeyCalls, ServiceCalls, LabelStudioCalls):
    """A connection to one service. Also a context manager.

    Without an address it is LOOKAHEAD_URL, with the key LOOKAHEAD_API_KEY, where these are set, or this machine.
    """

    def __init__(self, url: str | None = None, key: str | None = None, timeout: float = 120.0) -> None:
        if url is None:
            # A key that is set for one service is not for another, whose address is given.
            url, key = os.environ.get("LOOKAHEAD_URL") or DEFAULT_URL, key or os.environ.get("LOOKAHEAD_API_KEY")
        super().__init__(Transport(url, key, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the service answers."""
        return self._transport.url

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
