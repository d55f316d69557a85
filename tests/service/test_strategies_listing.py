"""GET /strategies: what each strategy is, takes, needs and costs, and that POST /suggest keeps to it."""

import re
from typing import Any

import pytest

from api_schemas.strategies import OPTIONS
from store.costs import evaluate, names
from tests.api import Api, Json, assert_problem

NAMES = {
    *("mlmoc", "emoc", "eer", "one_step", "infinite_ntk", "gp", "npc", "dynamical", "ntkcpl", "random", "entropy"),
    *("margin", "least_confidence", "coreset", "badge", "albl", "typiclust", "bald", "egl", "ll4al"),
}
# What a formula may speak of, with a middling size of each: a window of 4000, 200 of them labeled.
SIZES = {"N": 4200, "n": 200, "m": 4000, "C": 10, "P": 10**6, "D": 64, "b": 20, "k": 100, "s": 20, "tile": 1 << 26}


@pytest.fixture
def listed(api: Api) -> dict[str, Json]:
    answer = api.get("/strategies")
    assert answer.status_code == 200
    strategies: list[Json] = answer.json()["strategies"]
    assert len({s["name"] for s in strategies}) == len(strategies)
    return {s["name"]: s for s in strategies}


def test_all_twenty_are_listed_with_their_sources(listed: dict[str, Json]) -> None:
    assert len(NAMES) == 20
    assert set(listed) == NAMES
    fields = {"name", "title", "summary", "source", "needs", "memory", "time", "options"}
    for strategy in listed.values():
        assert set(strategy) == fields
        assert strategy["summary"].endswith(".")
    assert len({s["title"] for s in listed.values()}) == len({s["summary"] for s in listed.values()}) == 20
    years = {name for name, s in listed.items() if re.search(r"\b(19|20)\d\d\b", s["source"])}
    assert years == NAMES - {"random"}
    assert listed["random"]["source"]


def test_needs(listed: dict[str, Json]) -> None:
    assert listed["random"]["needs"] == []
    assert listed["ll4al"]["needs"] == ["checkpoint", "loss_predictor"]
    others = [s["needs"] for name, s in listed.items() if name not in {"random", "ll4al"}]
    assert others == [["checkpoint"]] * 18


def test_costs_are_formulas_of_known_letters(listed: dict[str, Json]) -> None:
    for strategy in listed.values():
        for kind in ("memory", "time"):
            formula = strategy[kind]
            assert names(formula) <= SIZES.keys(), (strategy["name"], kind)
            cost = evaluate(formula, SIZES)
            wider = {"N": 8200, "m": 8000}
            assert 0 < cost < evaluate(formula, {**SIZES, **wider}) < 1e16, (strategy["name"], kind)
    # Look-ahead keeps to the window's square in time and to its width in memory; another kernel is another square.
    twice = {**SIZES, "N": 8400, "n": 400, "m": 8000}
    growth = {
        (name, kind): evaluate(listed[name][kind], twice) / evaluate(listed[name][kind], SIZES)
        for name in ("mlmoc", "gp", "random")
        for kind in ("memory", "time")
    }
    assert growth["random", "memory"] == growth["random", "time"] == 2
    assert growth["mlmoc", "memory"] < 2
    assert growth["gp", "memory"] > 3.9
    assert growth["mlmoc", "time"] > 3.9


def resolved(schema: Json, part: Any) -> Any:
    """A property with its reference, if it is one, looked up."""
    reference = part.get("$ref")
    return part if reference is None else schema["$defs"][reference.rsplit("/", 1)[-1]]


def test_options_are_schemas_with_defaults_and_words(listed: dict[str, Json]) -> None:
    for name, strategy in listed.items():
        schema = strategy["options"]
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert "required" not in schema
        assert schema["properties"].keys() == OPTIONS[name].model_fields.keys()
        for option, part in schema["properties"].items():
            assert part["description"], (name, option)
            assert "default" in part, (name, option)
            assert resolved(schema, part).keys() & {"type", "enum", "const", "anyOf"}, (name, option)
        defaults = {option: part["default"] for option, part in schema["properties"].items()}
        assert OPTIONS[name].model_validate(defaults).model_dump() == defaults
    assert listed["random"]["options"]["properties"].keys() == {"why"}
    assert listed["npc"]["options"]["properties"]["search"]["enum"] == ["random", "greedy", "swap"]
    assert listed["mlmoc"]["options"]["properties"]["batch"] == {
        "default": "greedy",
        "description": "condition each pick on the ones before it, or take the best scores",
        "enum": ["greedy", "top_k"],
        "title": "Batch",
        "type": "string",
    }


def refused_values(part: Json) -> list[Any]:
    """Values that the schema of an option rules out."""
    if "anyOf" in part:
        return refused_values(next(form for form in part["anyOf"] if form.get("type") != "null"))
    if "enum" in part or "const" in part:
        return ["nothing of the kind", 7]
    ends = [part[key] - 1 for key in ("minimum",) if key in part] + [
        part[key] + 1 for key in ("maximum",) if key in part
    ]
    ends += [part[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if key in part]
    assert ends, part
    return ["many", *ends]


def test_what_a_schema_rules_out_is_refused(api: Api, listed: dict[str, Json]) -> None:
    api.project()
    api.pool(items=3)
    for name, strategy in listed.items():
        for option, part in strategy["options"]["properties"].items():
            for value in refused_values(part):
                answer = api.suggest(strategy=name, options={option: value})
                problem = assert_problem(answer, 422, "invalid_options", f"options.{option}")
                assert [error["field"] for error in problem["errors"]] == [f"options.{option}"]


def test_defaults_of_a_project_are_held_to_the_schema(api: Api, listed: dict[str, Json]) -> None:
    for name, strategy in listed.items():
        options = {option: part["default"] for option, part in strategy["options"]["properties"].items()}
        project = api.project(f"of-{name}", defaults={"strategy": name, "options": options})
        assert project["defaults"]["options"] == options
        body = {"name": "wrong", "classes": ["a", "b"], "defaults": {"strategy": name, "options": {"colour": "red"}}}
        assert_problem(api.post("/projects", body), 422, "invalid_request", "colour")
    body = {"name": "wrong", "classes": ["a", "b"], "defaults": {"strategy": "best"}}
    assert_problem(api.post("/projects", body), 422, "invalid_request", "defaults.strategy")


def test_the_listing_needs_no_project_and_no_worker(api: Api) -> None:
    first = api.get("/strategies")
    api.project()
    assert api.get("/strategies").json() == first.json()
    assert_problem(api.post("/strategies", {}), 405, "method_not_allowed", "GET")
