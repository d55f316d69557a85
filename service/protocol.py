"""The server's HTTP protocol: a bound on what it gathers of a request, and a hand on connections that stream."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.middleware import ADDRESS_MAX, HEADERS_MAX

# What lies between this and the sum of its parts still gets a problem for an answer.
HEAD_MAX = ADDRESS_MAX + HEADERS_MAX + (128 << 10)
EXTENSION = "lookahead.connection"


class Connection:
    """What an answer without end must know of its connection; in the scope's extensions."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.closing = False
        self.when_closing: set[Callable[[], None]] = set()
        self._transport = transport

    def close(self) -> None:
        """The server is about to stop: it waits for answers, so those without end must come to one."""
        self.closing = True
        for told in list(self.when_closing):
            told()

    def abort(self) -> None:
        """Drop a reader that does not read: what was written for it is thrown away."""
        self._transport.abort()


class BoundedProtocol(HttpToolsProtocol):
    """Its parser keeps an address and headers of any length: a connection that sends no end of them is closed."""

    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody has connected."""
        super().connection_made(transport)
        self._connection = Connection(transport)

    def shutdown(self) -> None:
        """The server stops: no further request, and an end to what streams."""
        super().shutdown()
        self._connection.close()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and give up on a head that has grown past all bounds."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX:
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """A request starts."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: self._connection}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._in_head = False
        super().on_headers_complete()
