"""What lies between a client and a service in tests of lost connections."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar


class Relay:
    """Passes on what a client and a service say to each other; subclasses say what does not get through."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.to, self.ends = (host, int(port)), list[socket.socket]()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"

    def connects(self) -> bool:
        """Whether a new connection is made."""
        return True

    def passes(self, data: bytes) -> bool:
        """Whether what the client says is passed on; the connection ends where it is not."""
        return True

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listening.accept()
                if not self.connects():
                    near.close()
                    continue
                far = socket.create_connection(self.to)
                self.ends += [near, far]
                threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self.pump, args=(far, near, False), daemon=True).start()

    def pump(self, source: socket.socket, target: socket.socket, of_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1024):
                if of_client and not self.passes(data):
                    break
                target.sendall(data)
        _hang_up(source, target)

    def cut(self) -> None:
        """End all connections."""
        _hang_up(*self.ends)


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


R = TypeVar("R", bound=Relay)


@contextmanager
def relaying(relay: R) -> Iterator[R]:
    thread = threading.Thread(target=relay.serve)
    thread.start()
    try:
        yield relay
    finally:
        relay.listening.shutdown(socket.SHUT_RDWR)
        relay.listening.close()
        relay.cut()
        thread.join()
