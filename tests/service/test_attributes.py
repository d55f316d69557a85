"""Attributes of items: merged all or nothing, and filters over them against a slow reading in Python."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError

from api_schemas.filters import Filter
from api_schemas.projects import AttributesRequest
from client.errors import ApiError
from client.sdk import Client
from store import pools
from store.database import Sessions
from tests.api import Api, Json, assert_problem, names
from tests.service.test_labels import together

HOSTILE = [
    *("'; DROP TABLE items; --", '"', "\\", "\\u0000", "%s %(a)s :a $1 {0}", "$.a[*] ? (@ > 0)", "{a,b}", "0", "null"),
    *("ключ", "\U0001f9ea\u200d\u0301", "a.b", " ", "body"),
]
SCALARS = [
    *(0, 1, 1.0, -1, 0.1, 0.30000000000000004, -0.0, 1e23, 10**23, 2**53, 2**53 + 1, float(2**53), 5e-324),
    *(sys.float_info.max, -sys.float_info.max, 10**308, True, False, "", "1", "1.0", "true", "a", "A", "\n\t"),
    *HOSTILE,
]
KEYS = ["a", "b", *HOSTILE]
Merge = Callable[[Any], httpx2.Response]


@pytest.fixture
def merge(api: Api) -> Merge:
    api.project()
    api.pool()
    return lambda attributes: api.client.patch("/projects/p/items", json={"attributes": attributes})


def shown(api: Api, **query: Any) -> dict[str, Json]:
    items = api.get("/projects/p/items", limit=1000, **query).json()["items"]
    return {item["item"]: item["attributes"] for item in items}


def exact(value: Any) -> tuple[str, Any]:
    """Type and value as JSON has them: truth values apart from numbers, numbers as the decimals they are written as."""
    return (type(value).__name__, value) if isinstance(value, bool | str) else ("number", Decimal(repr(value)))


def typed(items: dict[str, Json]) -> dict[str, Json]:
    return {item: {key: exact(value) for key, value in has.items()} for item, has in items.items()}


def meets(attributes: Json, key: str, condition: Any) -> bool:
    if isinstance(condition, dict) and "exists" in condition:
        return (key in attributes) is condition["exists"]
    if key not in attributes:
        return False
    kind, value = exact(attributes[key])
    if isinstance(condition, dict):
        low, high = (exact(condition[end])[1] if end in condition else value for end in ("min", "max"))
        return kind == "number" and bool(low <= value <= high)
    return (kind, value) in [exact(one) for one in (condition if isinstance(condition, list) else [condition])]


def one_of(random: np.random.Generator, values: list[Any]) -> Any:
    return values[random.integers(len(values))]


def drawn_condition(random: np.random.Generator) -> Any:
    numbers = [value for value in SCALARS if exact(value)[0] == "number"]
    low, high = sorted([one_of(random, numbers), one_of(random, numbers)])
    several = [one_of(random, SCALARS) for _ in range(random.integers(1, 6))]
    ranges = [{"min": low, "max": high}, {"min": low}, {"max": high}]
    return one_of(random, [one_of(random, SCALARS), several, *ranges, {"exists": bool(random.integers(2))}])


def test_round_trip_merge_and_removal(api: Api, merge: Merge) -> None:
    assert set(map(str, shown(api).values())) == {"{}"}
    first = merge({"item-1": {"site": "north", "age": 41.5, "seen": True, "n": 1}, "item-2": {"site": "south"}})
    assert (first.status_code, first.json()) == (200, {"updated": 2})
    assert merge({"item-1": {"site": None, "age": "old", "absent": None, "new": False}}).json() == {"updated": 1}
    found = shown(api)
    assert found["item-1"] == {"age": "old", "seen": True, "n": 1, "new": False}
    assert [type(found["item-1"][key]) for key in ("seen", "n")] == [bool, int]
    assert (found["item-2"], found["item-0"]) == ({"site": "south"}, {})
    assert (merge({}).json(), merge({"item-2": {}}).json()) == ({"updated": 0}, {"updated": 1})
    assert shown(api) == found


def test_32_keys_are_counted_after_merging(api: Api, merge: Merge) -> None:
    full = {f"k{k}": k for k in range(32)}
    assert merge({"item-0": full}).status_code == 200
    problem = assert_problem(merge({"item-1": {"a": 1}, "item-0": {"more": 1}}), 422, "invalid_request", "33", "32")
    assert [entry["field"] for entry in problem["errors"]] == ["attributes.item-0"]
    assert (shown(api)["item-0"], shown(api)["item-1"]) == (full, {})
    replaced = {f"k{k}": None for k in range(32)} | {f"j{k}": k for k in range(32)} | {"more": None}
    assert merge({"item-0": replaced}).status_code == 200
    assert shown(api)["item-0"].keys() == {f"j{k}" for k in range(32)}


def test_fifty_thousand_items_at_once(api: Api) -> None:
    api.project()
    api.pool(items=50_001, features=1)
    body = {"attributes": {item: {"n": k, "half": k % 2 == 0} for k, item in enumerate(names(50_001))}}
    assert_problem(api.client.patch("/projects/p/items", json=body), 422, "invalid_request", "50000", "50001")
    del body["attributes"]["item-50000"]
    assert api.client.patch("/projects/p/items", json=body).json() == {"updated": 50_000}
    found = api.get("/projects/p/items", filter='{"n": {"min": 49990}, "half": true}').json()["items"]
    assert [item["position"] for item in found] == [49990, 49992, 49994, 49996, 49998]


REFUSED: list[tuple[Any, int, str, str]] = [
    ({"item-1": {"a": 1}, "nope": {"a": 1}}, 404, "unknown_item", "'nope'"),
    ({"x' OR '1'='1": {"a": 1}}, 404, "unknown_item", "no item"),
    ({"item-1": {"a": {"b": 1}}}, 422, "invalid_request", "attributes.item-1.a: a value is a string"),
    ({"item-1": 3}, 422, "invalid_request", "attributes.item-1: must be an object"),
    ({"item-1": {"a": "x" * 513}}, 422, "invalid_request", "512"),
    ({"item-1": {"a": "x\0"}}, 422, "invalid_request", "NUL"),
    ({"item-1": {"a\0": 1}}, 422, "invalid_request", "[key]"),
    ({"item-1\0": {"a": 1}}, 422, "invalid_request", "[key]"),
    ({"item-1": {"a\nb": 1}}, 422, "invalid_request", "[key]"),
    ({"item-1": {"": None}}, 422, "invalid_request", "at least 1 character"),
    ({"item-1": {"k" * 65: 1}}, 422, "invalid_request", "at most 64 characters"),
    ({"item-1": {"a": 10**309}}, 422, "invalid_request", "finite"),
    ([["item-1", {"a": 1}]], 422, "invalid_request", "attributes"),
    ({"item-1": {str(k): k for k in range(33)}}, 422, "invalid_request", "33"),
]


def test_refused(shared: Api, ready: Callable[[], None]) -> None:
    for attributes, status, code, words in REFUSED:
        given = {"item-0": {"fine": 1}, **attributes} if isinstance(attributes, dict) else attributes
        answer = shared.client.patch("/projects/p/items", json={"attributes": given})
        assert_problem(answer, status, code, words)
        ready()
    assert_problem(shared.client.patch("/projects/p/items", json={}), 422, "invalid_request", "attributes")
    assert_problem(shared.client.patch("/projects/q/items", json={"attributes": {}}), 404, "unknown_project", "'q'")
    long = b'{"attributes": {"item-0": {"a": "' + b"x" * (32 << 20) + b'"}}}'
    assert_problem(shared.client.patch("/projects/p/items", content=long), 413, "body_too_large")
    ready()


def test_raw_values_refused(shared: Api, ready: Callable[[], None]) -> None:
    for value in (b"1e400", b"-Infinity", b"NaN", b"9" * 5000, b'"\\ud800"', b"[" * 5000, b"1.2.3"):
        body = b'{"attributes": {"item-0": {"fine": 1, "a": ' + value + b"}}}"
        answer = shared.client.patch("/projects/p/items", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, (value[:20], answer.text)
        assert_problem(answer, answer.status_code, answer.json()["code"])
        ready()


def test_errors_do_not_multiply() -> None:
    wrong: Json = {f"item-{k}": {f"k{j}": [] for j in range(50)} for k in range(20)}
    with pytest.raises(ValidationError) as refused:
        AttributesRequest.model_validate({"attributes": wrong})
    assert refused.value.error_count() == 20
    given: Json
    for given in ({"a": [[]] * 5000}, {str(k): [] for k in range(5000)}):
        with pytest.raises(ValidationError) as refused:
            TypeAdapter(Filter).validate_python(given)
        assert refused.value.error_count() == 1


def test_labels_and_attributes_at_once(api: Api, merge: Merge) -> None:
    answers: list[int] = []
    forward, backward = names(30), names(30)[::-1]

    def attributes(key: str, order: list[str]) -> None:
        answers.extend(merge({item: {key: step} for item in order}).status_code for step in range(8))

    def labels(order: list[str]) -> None:
        for step in range(8):
            entries = [{"item": item, "label": "abc"[step % 3]} for item in order]
            answers.append(api.post("/labels", {"project": "p", "labels": entries}).status_code)

    together(
        *(lambda key=key: attributes(key, forward if key < "c" else backward) for key in "abcd"),
        *(lambda order=order: labels(order) for order in (forward, backward)),
    )
    assert sorted(answers) == [200] * 32 + [201] * 16
    assert list(shown(api).values()) == [dict.fromkeys("abcd", 7)] * 30


def test_merges_and_filters_against_the_slow_reading(api: Api, merge: Merge, sessions: Sessions) -> None:
    random = np.random.default_rng(1)
    has: dict[str, Json] = {item: {} for item in names(30)}
    for _ in range(12):
        chosen = random.choice(names(30), size=20, replace=False).tolist()
        change = {item: {one_of(random, KEYS): one_of(random, [*SCALARS, None]) for _ in range(8)} for item in chosen}
        assert merge(change).json() == {"updated": 20}
        for item, values in change.items():
            has[item] = {key: value for key, value in (has[item] | values).items() if value is not None}
        assert typed(shown(api)) == typed(has)
    assert {exact(value) for item in has.values() for value in item.values()} == set(map(exact, SCALARS))
    sizes = []
    for trial in range(400):
        conditions = {one_of(random, KEYS): drawn_condition(random) for _ in range(random.integers(1, 3))}
        expected = [item for item in has if all(meets(has[item], *one) for one in conditions.items())]
        checked = TypeAdapter(Filter).validate_python(conditions)
        with sessions.begin() as session:
            found = pools.matching_positions(session, 1, checked)
        assert [f"item-{position}" for position in sorted(found)] == expected, conditions
        if trial % 10 == 0:
            assert list(shown(api, filter=json.dumps(conditions))) == expected, conditions
        sizes.append(len(expected))
    assert (min(sizes), len(set(sizes)) > 10) == (0, True)


def test_what_equals_what(api: Api, merge: Merge) -> None:
    merge({f"item-{k}": {"a": value} for k, value in enumerate([1, 1.0, True, "1", False, 0, "true", 2**53 + 1])})

    def found(condition: Any) -> list[int]:
        return sorted(int(item.removeprefix("item-")) for item in shown(api, filter=json.dumps({"a": condition})))

    assert found(1) == found(1.0) == [0, 1]
    assert (found(True), found("1"), found(False), found(0), found("true")) == ([2], [3], [4], [5], [6])
    assert (found([True, "1", "'"]), found({"min": 0}), found({"max": 1})) == ([2, 3], [0, 1, 5, 7], [0, 1, 5])
    assert (found({"min": 1, "max": 1}), found({"min": 2, "max": 1}), found(2**53)) == ([0, 1], [], [])
    assert (found({"exists": True}), found({"exists": False})) == (list(range(8)), list(range(8, 30)))


def test_filter_with_state_pages_and_other_projects(api: Api, merge: Merge, sessions: Sessions) -> None:
    api.project("q")
    api.pool(name="q")
    merge({item: {"even": k % 2 == 0} for k, item in enumerate(names(30))})
    api.label("item-4")
    page = api.get("/projects/p/items", filter='{"even": true}', state="unlabeled", limit=3).json()
    assert ([item["position"] for item in page["items"]], page["next"]) == ([0, 2, 6], 6)
    page = api.get("/projects/p/items", filter='{"even": true}', after=24, limit=3).json()
    assert ([item["position"] for item in page["items"]], page["next"]) == ([26, 28], None)
    assert api.get("/projects/q/items", filter='{"even": {"exists": true}}').json()["items"] == []
    with sessions.begin() as session:
        found = [pools.matching_positions(session, 2, where) for where in ({}, {"even": True})]
        assert found == [set(range(30)), set()]
        for odd in ({}, {"mim": 1}, {"exists": True, "min": 1}):
            with pytest.raises(ValueError, match="exists alone"):
                pools.matching_positions(session, 1, {"even": odd})


FILTERS_REFUSED = [
    ("", "filter: Invalid JSON"),
    ("[1]", "filter: Input should be an object"),
    ('{"a": null}', "filter.a: a value is a string, a finite number, true or false, not null"),
    ('{"a": []}', "filter.a: List should have at least 1 item"),
    ('{"a": [1, [2]]}', "filter.a.1: a value is a string"),
    (json.dumps({"a": list(range(1001))}), "1000"),
    ('{"a": {}}', 'filter.a: say "min", "max" or both'),
    ('{"a": {"mim": 1}}', "filter.a.mim"),
    ('{"a": {"min": "1"}}', "filter.a.min: must be a number, not a string"),
    ('{"a": {"max": true}}', "filter.a.max: must be a number, not a truth value"),
    ('{"a": {"min": 1e400}}', "filter.a.min: a number must be finite"),
    ('{"a": {"exists": 1, "min": 1}}', "filter.a.exists"),
    ('{"a": "\\u0000"}', "NUL"),
    ('{"a\\u0000": 1}', "[key]"),
    ('{"a": "\\ud800"}', "filter: Invalid JSON"),
    (json.dumps({str(k): k for k in range(17)}), "at most 16 keys, not 17"),
]


def test_filters_refused(api: Api) -> None:
    api.project()
    for given, words in FILTERS_REFUSED:
        problem = assert_problem(api.get("/projects/p/items", filter=given), 422, "invalid_request", words)
        assert problem["errors"], given


@pytest.fixture
def client(app: FastAPI, api: Api) -> Iterator[Client]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    with Client(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}") as made:
        yield made
    server.should_exit = True
    thread.join()


def test_from_the_sdk(client: Client, api: Api) -> None:
    api.project()
    api.pool(items=3)
    values: dict[str, Any] = {"site": "ü/ö", "age": 2, "share": 0.5, "seen": True, "large": 10**308}
    assert client.set_attributes("p", {"item-1": values, "item-2": {}}).updated == 2
    assert client.set_attributes("p", {"item-1": {"age": None}}).updated == 1
    del values["age"]
    assert [item.attributes for item in client.items("p")] == [{}, values, {}]
    with pytest.raises(ApiError) as refused:
        client.set_attributes("p", {"item-0": {"a": 1}, "item-9": {"a": 1}})
    assert refused.value.problem.code == "unknown_item"
    assert [item.attributes for item in client.items("p")] == [{}, values, {}]
