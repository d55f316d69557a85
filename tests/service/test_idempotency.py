"""A request with an Idempotency-Key is done once, whenever and however often it comes."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from store import idempotency
from store.database import Sessions
from store.tables import IdempotencyKey, Job, LabelEvent
from tests import factories
from tests.api import Api, assert_problem, npz, vectors, weights
from tests.service.conftest import contents

WEIGHTS = weights(factories.mlp(6, [16, 8], 3))
Send = Callable[[Api, dict[str, str]], Any]


def _json(path: str, body: dict[str, Any]) -> Send:
    return lambda api, headers: api.post(path, body, headers=headers)


def _pool(api: Api, headers: dict[str, str]) -> Any:
    files = {"file": ("pool.npz", npz(x=vectors(4)))}
    return api.client.post("/projects/p/pool", files=files, headers=headers)


def _checkpoint(api: Api, headers: dict[str, str]) -> Any:
    return api.client.post(
        "/projects/p/checkpoints",
        files={"weights": ("w", WEIGHTS)},
        data={"manifest": '{"architecture": "mlp", "options": {"hidden": [16, 8]}}'},
        headers=headers,
    )


def _csv(api: Api, headers: dict[str, str]) -> Any:
    more = {"content-type": "text/csv", **headers}
    return api.client.post("/labels", params={"project": "p"}, content=b"item,label\nitem-1,a\n", headers=more)


REQUESTS: dict[str, Send] = {
    "project": _json("/projects", {"name": "q", "classes": ["a", "b"]}),
    "label": _json("/label", {"project": "p", "item": "item-1", "label": "a"}),
    "labels": _json("/labels", {"project": "p", "labels": [{"item": "item-1", "label": "a"}]}),
    "csv": _csv,
    "pool": _pool,
    "checkpoint": _checkpoint,
    "train": _json("/projects/p/train", {"epochs": 1}),
}


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()
    api.pool(items=6)


def test_the_same_answer_and_nothing_done_twice(api: Api, sessions: Sessions) -> None:
    for name in REQUESTS:
        _twice(name, api, sessions)


def done(sessions: Sessions) -> dict[str, list[Any]]:
    """What requests have left, but for the audit, which has every one of them."""
    return {table: rows for table, rows in contents(sessions).items() if table != "audit_entries"}


def _twice(name: str, api: Api, sessions: Sessions) -> None:
    key = {"Idempotency-Key": f'"{name}" once, please'}
    first = REQUESTS[name](api, key)
    assert first.status_code in {201, 202}, first.text
    assert "idempotency-replayed" not in first.headers
    before = done(sessions)
    again = REQUESTS[name](api, key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    for header in ("location", "retry-after", "content-type"):
        assert again.headers.get(header) == first.headers.get(header)
    assert done(sessions) == before
    other = api.post("/label", {"project": "p", "item": "item-2", "label": "a"}, headers=key)
    assert_problem(other, 409, "idempotency_conflict", "new key")


def test_twins_at_the_same_moment(api: Api, sessions: Sessions) -> None:
    for name in REQUESTS:
        _four(name, api)
    with sessions.begin() as session:
        assert session.scalars(sa.select(sa.func.count()).select_from(LabelEvent)).one() == 3
        assert session.scalars(sa.select(Job.kind).order_by(Job.created_at)).all() == ["prepare", "train"]


def _four(name: str, api: Api) -> None:
    answers: list[Any] = []
    barrier = threading.Barrier(4)

    def send() -> None:
        barrier.wait()
        answers.append(REQUESTS[name](api, {"Idempotency-Key": name}))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1, [a.text for a in answers]
    assert answers[0].status_code in {201, 202}


def test_what_failed_may_be_tried_again(api: Api, sessions: Sessions) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"project": "p", "item": "later", "label": "a"}
    assert_problem(api.post("/label", body, headers=key), 404, "unknown_item")
    with sessions.begin() as session:
        assert session.scalars(sa.select(IdempotencyKey)).all() == []
    api.upload(npz(x=vectors(1), ids=np.array(["later"])))
    assert api.post("/label", body, headers=key).status_code == 201


def test_keys_are_printable_and_forgotten_in_time(api: Api, sessions: Sessions) -> None:
    body = {"project": "p", "item": "item-1", "label": "a"}
    for wrong in ("", "k" * 201, "tab\there", "\x7f"):
        assert_problem(api.post("/label", body, headers={"Idempotency-Key": wrong}), 422, "invalid_request", "key")
    assert api.post("/label", body, headers={"Idempotency-Key": "k" * 200}).status_code == 201
    with sessions.begin() as session:
        assert idempotency.prune(session, timedelta(hours=24)) == 0
        session.execute(sa.update(IdempotencyKey).values(created_at=sa.func.now() - timedelta(hours=25)))
        assert idempotency.prune(session, timedelta(hours=24)) == 1
    assert api.post("/label", body, headers={"Idempotency-Key": "k" * 200}).json()["seq"] == 2
