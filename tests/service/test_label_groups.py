"""Labels of concurrent requests, written together: each with its own answer, as if each had come alone."""

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from fastapi import FastAPI

from api_schemas.labels import LabelAccepted, LabelRequest
from service.operations.label_groups import add_together
from service.problems import ConflictError, InvalidError, UnknownError
from store.database import Sessions
from store.tables import LabelEvent
from tests.api import Api


def asked(project: str = "p", item: str = "item-0", label: str | None = "a", **more: str) -> LabelRequest:
    return LabelRequest.model_validate({"project": project, "item": item, "label": label, **more})


def outcomes(app: FastAPI, *requests: LabelRequest) -> list[LabelAccepted | Exception]:
    return add_together([(app.state.context, request) for request in requests])


def seqs(found: list[LabelAccepted | Exception]) -> list[int | type[Exception]]:
    return [one.seq if isinstance(one, LabelAccepted) else type(one) for one in found]


def test_each_gets_its_own_outcome_and_the_log_has_them_in_order(api: Api, app: FastAPI, sessions: Sessions) -> None:
    for name in ("p", "q"):
        api.project(name)
        api.pool(name=name)
    found = outcomes(
        app,
        asked(item="item-3"),
        asked(project="q", item="item-1", label="b"),
        asked(item="nowhere"),
        asked(item="item-3", label="c"),
        asked(project="missing"),
        asked(item="item-5", label="no class"),
        asked(item="item-4", label=None),
        asked(project="q", item="item-1", label="b"),
    )
    assert seqs(found) == [1, 1, UnknownError, 2, UnknownError, InvalidError, 3, 2]
    with sessions.begin() as session:
        logged = session.execute(
            sa.select(LabelEvent.project_id, LabelEvent.seq, LabelEvent.item_position, LabelEvent.class_index).order_by(
                LabelEvent.project_id, LabelEvent.seq
            )
        ).all()
    first, second = logged[0].project_id, logged[-1].project_id
    assert [tuple(row) for row in logged] == [
        (first, 1, 3, 0),
        (first, 2, 3, 2),
        (first, 3, 4, None),
        (second, 1, 1, 1),
        (second, 2, 1, 1),
    ]


def test_one_event_twice_in_one_group_happens_once(api: Api, app: FastAPI) -> None:
    api.project()
    api.pool()
    twice = asked(event_id="e")
    assert seqs(outcomes(app, twice, asked(item="item-1"), twice, twice)) == [1, 2, 1, 1]
    assert seqs(outcomes(app, asked(item="item-2", event_id="e"), asked(item="item-2"))) == [ConflictError, 3]


def test_many_annotators_at_once_over_http(api: Api, app: FastAPI) -> None:
    api.project()
    api.pool(items=200)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda k: api.label(f"item-{k}", "b", event_id=f"e{k}").json()["seq"], range(200)))
    assert sorted(answers) == list(range(1, 201))
    log = api.get("/labels", project="p", limit=1000).json()["labels"]
    assert {entry["item"]: entry["seq"] for entry in log} == {f"item-{k}": seq for k, seq in enumerate(answers)}
