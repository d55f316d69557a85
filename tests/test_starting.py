"""How processes begin: what they have loaded is not looked through again, in the midst of answers."""

import gc
import runpy

import pytest

import service.__main__
import worker.main
from service.settings import ServiceSettings


@pytest.fixture
def frozen(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was told to the collector, in order; this process itself goes on as it was."""
    for name in ("database_url", "redis_url", "artifacts_url"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    said: list[str] = []
    for name in ("disable", "freeze", "enable"):
        monkeypatch.setattr(gc, name, lambda name=name: said.append(name))
    return said


def test_a_service(frozen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.__main__, "_log", lambda settings: None)
    service.__main__.application()
    assert frozen == ["freeze"]


def test_a_worker(frozen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.main, "main", lambda: frozen.append("main"))
    with pytest.raises(SystemExit):
        runpy.run_module("worker", run_name="__main__")
    assert frozen == ["disable", "freeze", "enable", "main"]
