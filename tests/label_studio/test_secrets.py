"""Access tokens of Label Studio, encrypted in the database: across changes of the key, and without it."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from pydantic import ValidationError

from service import keys
from service.app import create_app
from service.settings import ServiceSettings
from store.database import Sessions
from store.tables import LabelStudioConnection
from store.vault import Vault, new_key
from tests.api import Api
from tests.label_studio.fake import TOKEN, FakeLabelStudio, Json, connect
from tests.worker.conftest import run_queued
from worker.context import Context
from worker.settings import WorkerSettings

KEY = new_key()


@pytest.fixture
def app(settings: ServiceSettings) -> FastAPI:
    return create_app(ServiceSettings(**settings.model_dump() | {"lookahead_secret_keys": KEY}))


def kept(sessions: Sessions) -> str:
    with sessions.begin() as session:
        return session.scalars(sa.select(LabelStudioConnection)).one().api_token


def read(api: Api, worker: Context, connection: Json) -> Json:
    job = api.post(f"/label-studio/{connection['id']}/sync", {"order": False}).json()
    run_queued(worker)
    found: Json = api.get(f"/jobs/{job['id']}").json()
    return found


def test_only_who_has_the_key_can_ask_label_studio(
    api: Api, sessions: Sessions, new_context: Callable[[], Context], studio: FakeLabelStudio
) -> None:
    made = connect(api, studio)
    assert TOKEN not in kept(sessions)
    stranger, worker = new_context(), new_context()
    worker.vault = Vault([KEY])
    assert read(api, worker, made)["status"] == "succeeded"
    failed = read(api, stranger, made)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "secret_lost")
    assert "LOOKAHEAD_SECRET_KEYS" in api.get("/label-studio").json()["connections"][0]["problem"]


def test_a_connection_whose_key_is_lost_can_be_ended(api: Api, app: FastAPI, studio: FakeLabelStudio) -> None:
    made = connect(api, studio)
    object.__setattr__(app.state.context, "vault", Vault([new_key()]))
    ended = api.client.delete(f"/label-studio/{made['id']}").json()
    assert "LOOKAHEAD_SECRET_KEYS" in ended["left"]
    assert api.get("/label-studio").json()["connections"] == []


def test_another_key(
    api: Api, sessions: Sessions, settings: ServiceSettings, studio: FakeLabelStudio,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    connect(api, studio)
    newest, before = new_key(), kept(sessions)
    for name in ("database_url", "redis_url", "artifacts_url"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    assert keys.main(["reencrypt"]) == 1
    assert "LOOKAHEAD_SECRET_KEYS is not set" in capsys.readouterr().err
    monkeypatch.setenv("LOOKAHEAD_SECRET_KEYS", newest)
    assert keys.main(["reencrypt"]) == 1
    assert "not among LOOKAHEAD_SECRET_KEYS" in capsys.readouterr().err
    assert kept(sessions) == before
    monkeypatch.setenv("LOOKAHEAD_SECRET_KEYS", f"{newest}, {KEY}")
    assert keys.main(["reencrypt"]) == 0
    assert capsys.readouterr().out.startswith("Access tokens encrypted with the first key: 1\n")
    assert Vault([newest]).unseal(kept(sessions)) == TOKEN


def test_keys_are_checked_at_the_start_and_never_shown(settings: ServiceSettings) -> None:
    for kind in (ServiceSettings, WorkerSettings):
        given = settings.model_dump(include={"database_url", "redis_url", "artifacts_url"})
        with pytest.raises(ValidationError, match="openssl rand -base64 32"):
            kind(**given, lookahead_secret_keys=f"{KEY},hunter2")
        assert KEY not in repr(kind(**given, lookahead_secret_keys=KEY))
