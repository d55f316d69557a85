"""The SDK: one method per route, typed answers, retries where they are safe."""

from types import TracebackType
from typing import Self

from client.calls import OnProgress
from client.job_calls import JobCalls
from client.key_calls import KeyCalls
from client.label_calls import LabelCalls
from client.lease_calls import LeaseCalls
from client.project_calls import ProjectCalls
from client.suggest_calls import SuggestCalls
from client.transport import Transport

__all__ = ["DEFAULT_URL", "Client", "OnProgress"]

DEFAULT_URL = "http://127.0.0.1:8000"


class Client(ProjectCalls, JobCalls, LabelCalls, SuggestCalls, LeaseCalls, KeyCalls):
    """A connection to one service. Also a context manager."""

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None, timeout: float = 120.0) -> None:
        super().__init__(Transport(url, key, timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
