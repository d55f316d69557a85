"""Requests to an address that somebody gave us: checked where they go, and sent nowhere else.

The name is resolved once per request, the address looked at, and the connection made to that very address: a name
that answers differently the next time gains nothing.
"""

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Mapping
from typing import Any

import httpx

from studio.errors import AddressRefusedError, UnreachableError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
# Where clouds tell a machine its secrets, at addresses that count as merely private.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))


class GuardedTransport(httpx.BaseTransport):
    """Connects to public addresses; to private ones only if they are allowed. Follows nothing by itself."""

    def __init__(self, *, private_allowed: bool) -> None:
        self._private_allowed = private_allowed
        self._inner = httpx.HTTPTransport(retries=0)
        self._lock = threading.Lock()
        self._newest: socket.socket | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send to the address that was looked at. Raises AddressRefusedError, UnreachableError."""
        host = request.url.host
        address = checked(host, request.url.port or 443, private_allowed=self._private_allowed)
        # Certificates are checked for the name, which the connection itself does not use any more.
        request.extensions = {**request.extensions, "sni_hostname": host, "trace": self._traced}
        request.url = request.url.copy_with(host=address)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()
        self._hold(None)

    def abort(self) -> None:
        """End the request that another thread waits for: its time is over, however its answer trickles in."""
        with self._lock, contextlib.suppress(OSError):
            if self._newest is not None:
                self._newest.shutdown(socket.SHUT_RDWR)

    def _traced(self, event: str, about: Mapping[str, Any]) -> None:
        # One request at a time: a connection is made when none is left to be used again.
        if event == "connection.connect_tcp.complete":
            made: socket.socket = about["return_value"].get_extra_info("socket")
            # A second hand on it, which encryption does not take over.
            self._hold(made.dup())

    def _hold(self, made: socket.socket | None) -> None:
        with self._lock:
            before, self._newest = self._newest, made
        if before is not None:
            before.close()


def checked(host: str, port: int, *, private_allowed: bool) -> str:
    """An address of the host that we may connect to. Raises AddressRefusedError, UnreachableError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"there is no host {host!r}") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if (reason := _refused(address, private_allowed)) is not None:
            raise AddressRefusedError(f"{host} is at {address}, {reason}")
    return str(addresses[0])


def _refused(address: Address, private_allowed: bool) -> str | None:
    """Why no request goes there; None if it may."""
    inner = _carried(address) or address
    odd = (
        inner.is_link_local or inner.is_multicast or inner.is_unspecified or (inner.version == 4 and inner.is_reserved)
    )
    if odd or inner in _METADATA:
        return "an address that no Label Studio has"
    if not inner.is_global and not private_allowed:
        return "a private address: this deployment asks none, unless LOOKAHEAD_PRIVATE_ADDRESSES=on"
    return None


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    """The address of version 4 that one of version 6 leads to, on networks that translate."""
    if address.version == 4:
        return None
    number = int(address)
    if address in _TRANSLATED or 1 < number < 1 << 32:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
