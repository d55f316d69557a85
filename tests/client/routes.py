"""A service that notes what it is asked, and answers nothing: which routes a call or a command reaches."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from service.openapi import schema


class Noted:
    """The requests so far, as (method, path)."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.add((request.method, request.url.raw_path.decode().partition("?")[0]))
        if (request.method, request.url.path) == ("POST", "/uploads"):
            return httpx.Response(201, headers={"Location": "/uploads/abc"})
        return httpx.Response(418, json={})

    def missing(self) -> list[str]:
        """Routes of the service that nothing has asked for."""
        return [
            f"{method} {path}"
            for method, path, known in _routes()
            if not any(m == method and known.fullmatch(p) for m, p in self.seen)
        ]


def _routes() -> Iterator[tuple[str, str, re.Pattern[str]]]:
    for path, methods in schema()["paths"].items():
        if path.startswith("/label-studio/{token}/"):
            continue  # Label Studio asks these, by its own protocol
        known = re.compile(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(path)))
        for method in methods:
            yield method.upper(), path, known


@contextmanager
def noting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Noted]:
    noted = Noted()

    class Http(httpx.Client):
        def __init__(self, **more: Any) -> None:
            super().__init__(transport=httpx.MockTransport(noted.answer), **more)

    monkeypatch.setattr("client.transport.Http", Http)
    yield noted
