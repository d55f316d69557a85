"""Traces across service, queue and workers, if they are wanted. This module imports nothing to make them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

Exporter = Literal["off", "otlp"]
Kind = Literal["internal", "producer", "consumer"]
Carrier = dict[str, str]


class Tracing:
    """No traces: every call does nothing and costs next to nothing."""

    def instrument(self, app: Any) -> None:
        """Make a span of every request of a FastAPI app."""

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: Mapping[str, str] | None = None,
        attributes: Mapping[str, str | int] | None = None,
    ) -> Iterator[None]:
        """A span around the block: a child of `parent`, a carrier, or else of the span in force."""
        yield

    def record(self, name: str, seconds: float) -> None:
        """A span that ends now and took `seconds`, if one is in force to be its parent."""

    def carrier(self) -> Carrier | None:
        """The span in force in a form that another process can go on from."""
        return None

    def close(self) -> None:
        """Send what is left."""


def make(exporter: Exporter, role: str) -> Tracing:
    """What LOOKAHEAD_TRACING asks for. Raises RuntimeError when its packages are not installed."""
    if exporter == "off":
        return Tracing()
    try:
        from telemetry import otlp
    except ImportError as error:
        raise RuntimeError(
            f"LOOKAHEAD_TRACING={exporter} needs the packages of the extra `tracing`: pip install 'lookahead[tracing]'"
        ) from error
    return otlp.over_http(role)
