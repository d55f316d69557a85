"""A service with keys on, and hands on it that hold different ones."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx2
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service import keys
from service.app import create_app
from service.settings import ServiceSettings
from store.database import Sessions
from store.keys import Rights
from tests.api import Api


class Keyed:
    """One service; `holder` makes a key in the database and a hand that sends it."""

    def __init__(self, app: FastAPI, client: TestClient, sessions: Sessions) -> None:
        self.app = app
        self.client = client
        self.sessions = sessions

    def key(
        self,
        *scopes: str,
        projects: Sequence[str] | None = None,
        per_minute: int | None = None,
        expires_at: datetime | None = None,
    ) -> str:
        given = None if projects is None else tuple(projects)
        return keys.create(self.sessions, "test", Rights(scopes, given, per_minute, expires_at))

    def holder(self, key: str) -> Api:
        return Api(_Holder(self.client, key))  # type: ignore[arg-type]

    def new(self, *scopes: str, **rights: Any) -> Api:
        return self.holder(self.key(*scopes, **rights))


class _Holder:
    """The client, with a key in every request."""

    def __init__(self, client: TestClient, key: str) -> None:
        self._client = client
        self._key = key

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        return self._client.request(
            method, path, headers={"Authorization": f"Bearer {self._key}", **(headers or {})}, **more
        )

    def __getattr__(self, method: str) -> Callable[..., httpx2.Response]:
        return lambda path, **more: self.request(method.upper(), path, **more)


@contextmanager
def keyed_service(settings: ServiceSettings, sessions: Sessions, **more: object) -> Iterator[Keyed]:
    app = create_app(settings.model_copy(update={"lookahead_auth": "on", **more}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Keyed(app, client, sessions)


def prefix_of(key: str) -> str:
    return key.split("_")[1]
