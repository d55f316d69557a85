"""Two workers on one project: whoever is slower still answers, and writes nothing over the other."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from store import states
from store.errors import StaleStateError
from tests.api import Api
from tests.worker.conftest import run_queued
from worker.context import Context


@pytest.fixture
def prepared(api: Api, worker: Context) -> Context:
    api.project()
    api.pool(items=12)
    api.mlp()
    run_queued(worker)
    return worker


def asked(api: Api, worker: Context) -> dict[str, Any]:
    job = api.suggest(count=12, strategy="mlmoc", options={"batch": "top_k"}, headers={"Prefer": "wait=0"}).json()
    run_queued(worker)
    found: dict[str, Any] = api.get(f"/jobs/{job['id']}").json()
    return found


def test_a_worker_that_is_always_too_slow_answers_all_the_same(
    api: Api, prepared: Context, new_context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    api.label("item-3")
    overtaken = 0

    def another_was_first(*_: object) -> None:
        nonlocal overtaken
        overtaken += 1
        raise StaleStateError("kernel state 1 has moved past label 0")

    with monkeypatch.context() as slower:
        slower.setattr(states, "advance", another_was_first)
        job = asked(api, prepared)
    assert overtaken == 1
    assert (job["status"], job["attempt"], job["error"]) == ("succeeded", 1, None)
    assert job["result"]["label_seq"] == 1
    # What was not written is not kept either.
    assert prepared.live.projects() == []
    other = asked(api, new_context())["result"]
    of_both = [{entry["item"]: entry["score"] for entry in result["suggestions"]} for result in (job["result"], other)]
    assert of_both[0].keys() == of_both[1].keys()
    for item, score in of_both[0].items():
        torch.testing.assert_close(score, of_both[1][item], rtol=1e-9, atol=1e-12)
