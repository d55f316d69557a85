"""The server's HTTP protocol with a bound on what it gathers of a request before anyone can look at it."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.middleware import ADDRESS_MAX, HEADERS_MAX

# What lies between this and the sum of its parts still gets a problem for an answer.
HEAD_MAX = ADDRESS_MAX + HEADERS_MAX + (128 << 10)


class BoundedProtocol(HttpToolsProtocol):
    """Its parser keeps an address and headers of any length: a connection that sends no end of them is closed."""

    _in_head = False
    _head_bytes = 0

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

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        self._in_head = False
        super().on_headers_complete()
