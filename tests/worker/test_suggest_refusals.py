"""What a strategy refuses, what it needs, and what `auto` makes of what is there."""

import time
from typing import Any

from api_schemas.strategies import OPTIONS
from store.auto import COVERED, NOISE
from store.costs import evaluate
from store.strategies import TILE_BYTES
from tests.api import Api, Json, assert_problem
from tests.worker.test_suggest import items, ready  # noqa: F401
from worker.context import Context


def finished(api: Api, location: str) -> Json:
    deadline = time.monotonic() + 30
    while True:
        job: Json = api.get(location).json()
        if job["status"] not in {"queued", "running"}:
            assert job["status"] == "succeeded", job
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.01)


def trained(api: Api, **more: Any) -> Json:
    answer = api.post("/projects/p/train", {"architecture": "mlp", "options": {"hidden": [8]}, **more})
    assert answer.status_code == 202, answer.text
    return finished(api, answer.headers["location"])


def test_options_of_other_strategies_are_refused_by_name(api: Api, ready: Context) -> None:  # noqa: F811
    every = {name: field.default for kind in OPTIONS.values() for name, field in kind.model_fields.items()}
    for strategy, kind in OPTIONS.items():
        own = kind.model_fields
        foreign = sorted(set(every) - set(own))
        assert foreign
        answer = api.suggest(strategy=strategy, options={name: every[name] for name in foreign})
        problem = assert_problem(answer, 422, "invalid_options", f"{strategy} takes: {', '.join(own)}")
        assert sorted(error["field"] for error in problem["errors"]) == [f"options.{name}" for name in foreign]


def test_wrong_values_and_names_are_refused(api: Api, ready: Context) -> None:  # noqa: F811
    for strategy, options, field in (
        ("mlmoc", {"batch": "sequential"}, "options.batch"),
        ("coreset", {"features": "self"}, "options.features"),
        ("ntkcpl", {"features": "inputs"}, "options.features"),
        ("one_step", {"batch": "greedy"}, "options.batch"),
        ("npc", {"num_subsets": 0}, "options.num_subsets"),
        ("bald", {"dropout": 1.0}, "options.dropout"),
        ("random", {"why": 51}, "options.why"),
        ("auto", {"batch": "sequential"}, "options.batch"),
        ("auto", {"colour": 1}, "options.colour"),
    ):
        problem = assert_problem(api.suggest(strategy=strategy, options=options), 422, "invalid_options", field)
        assert [error["field"] for error in problem["errors"]] == [field]
    for unknown in ("best", "", "MLMOC"):
        problem = assert_problem(api.suggest(strategy=unknown), 422, "invalid_request", "'mlmoc'", "'gp'")
        assert [error["field"] for error in problem["errors"]] == ["strategy"]


def test_predicted_losses_need_a_predictor(api: Api, ready: Context) -> None:  # noqa: F811
    assert_problem(api.suggest(strategy="ll4al"), 409, "no_loss_predictor", "/train", '"loss_prediction": true')
    for k in range(4):
        api.label(f"item-{k}", "abc"[k % 3])
    trained(api, epochs=1, loss_prediction=True)
    whole = api.suggest(strategy="ll4al", count=8).json()["suggestions"]
    assert {s["item"] for s in whole} == {f"item-{k}" for k in range(4, 12)}
    scores = [s["score"] for s in whole]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 8
    gone = whole[0]["item"]
    part = api.suggest(strategy="ll4al", count=4, exclude=[gone], random_share=0.5, per_class=3).json()
    assert [s["picked_by"] for s in part["suggestions"]] == ["ll4al"] * 2 + ["random"] * 2
    assert gone not in items(part)
    trained(api, epochs=1)
    assert_problem(api.suggest(strategy="ll4al"), 409, "no_loss_predictor")


def test_what_does_not_fit_is_refused_with_the_number_that_does(api: Api, working: Context) -> None:
    would, labeled, count = 17, 9, 20
    for name, window in (("whole", 31), ("fits", would), ("over", would + 1)):
        api.project(name, kernel={"window": window})
        api.pool(items=31 + labeled, name=name)
        for k in range(labeled):
            api.label(f"item-{k}", "abc"[k % 3], name=name)
        finished(api, api.mlp(name)["links"]["self"])
    generous = working.kernel_bytes
    formulas = {s["name"]: s["memory"] for s in api.get("/strategies").json()["strategies"]}
    # D by what each of them looks at: the six inputs, or the eight inputs of the last layer.
    for strategy, width in (("gp", 6), ("infinite_ntk", 6), ("ntkcpl", 6), ("npc", 0), ("coreset", 8), ("mlmoc", 0)):
        sizes = {"N": labeled + would, "n": labeled, "m": would, "C": 3, "D": width, "b": would, "k": 100}
        # Past what so many hold, and short of what one more would.
        working.kernel_bytes = int(evaluate(formulas[strategy], {**sizes, "tile": TILE_BYTES})) + 1
        assert_problem(
            api.suggest("whole", strategy=strategy, count=count),
            422,
            "too_large",
            f"{strategy} would hold",
            "for a window of 31 candidates",
            f": a window of {would} candidates would fit",
            "LOOKAHEAD_KERNEL_BYTES",
        )
        answer = api.suggest("fits", strategy=strategy, count=count)
        assert answer.status_code == 200, answer.text
        assert len(items(answer.json())) == would
        refused = api.suggest("over", strategy=strategy, count=count)
        assert_problem(refused, 422, "too_large", f": a window of {would} candidates would fit")
    working.kernel_bytes = generous
    assert api.suggest("whole", strategy="gp", count=count).status_code == 200


def test_where_no_window_would_fit(api: Api, ready: Context) -> None:  # noqa: F811
    ready.kernel_bytes = 8
    assert_problem(api.suggest(), 422, "too_large", "mlmoc would hold", "no window of this project would fit")
    # Random holds less than any other.
    formula = next(s["memory"] for s in api.get("/strategies").json()["strategies"] if s["name"] == "random")
    ready.kernel_bytes = int(evaluate(formula, {"m": 12}))
    assert len(items(api.suggest(strategy="random", count=12).json())) == 12
    assert_problem(api.suggest(), 422, "too_large")
    # A refusal drops nothing: the next request finds the state warm.
    ready.kernel_bytes = 1 << 30
    assert api.suggest().status_code == 200


def test_random_needs_no_checkpoint_and_nothing_else_does_without(api: Api, working: Context) -> None:
    api.project()
    api.pool(items=10)
    api.client.patch("/projects/p/items", json={"attributes": {f"item-{k}": {"site": "a"} for k in range(6)}})
    rules: Json = {"filter": {"site": "a"}, "exclude": ["item-0"], "random_share": 0.5}
    body = api.suggest(strategy="random", count=9, seed=1, annotator="ann", **rules).json()
    assert sorted(items(body)) == [f"item-{k}" for k in range(1, 6)]
    assert (body["reason"], body["candidates"]) == ("rules_leave_no_more", 5)
    assert {(s["picked_by"], s["predicted"], s["confidence"]) for s in body["suggestions"]} == {("random", None, None)}
    same = api.suggest(strategy="random", count=9, seed=1, annotator="ann", **rules).json()
    assert items(same) == items(body)
    others = api.suggest(strategy="random", count=9, annotator="bob", **rules).json()
    assert (others["suggestions"], others["reason"]) == ([], "others_hold_the_rest")
    nothing = api.suggest(strategy="random", filter={"site": "b"}).json()
    assert (nothing["suggestions"], nothing["reason"]) == ([], "rules_leave_no_more")
    assert_problem(api.suggest(strategy="random", exclude=["item-10"]), 404, "unknown_item", "'item-10'")
    # Quotas and distances look at predictions and kernels, and there are none.
    assert_problem(api.suggest(strategy="random", per_class=1), 409, "not_prepared", "without per_class")
    assert_problem(api.suggest(strategy="random", min_distance=0.5), 409, "not_prepared", "without min_distance")
    listed = api.get("/strategies").json()["strategies"]
    assert [s["name"] for s in listed if "checkpoint" not in s["needs"]] == ["random"]
    for strategy in [*OPTIONS.keys() - {"random"}, "auto"]:
        assert_problem(api.suggest(strategy=strategy), 409, "not_prepared", "'random'")


def test_auto_says_what_it_chose_and_why(api: Api, ready: Context) -> None:  # noqa: F811
    for options in ({}, {"batch": "top_k", "why": 2}, {"noise": 0.1}):
        body = api.suggest(options=options).json()
        assert body["strategy"] == "mlmoc"
        assert body["reason"].startswith("auto chose mlmoc: ")
        assert body["options"] == OPTIONS["mlmoc"]().model_dump() | {"noise": NOISE} | options
        assert {s["picked_by"] for s in body["suggestions"]} == {"mlmoc"}
    assert api.suggest(strategy="mlmoc").json()["reason"] is None
    # Options of a strategy that it might have chosen are no mistake.
    assert api.suggest(options={"features": "inputs"}).json()["strategy"] == "mlmoc"
    assert api.suggest(count=13).json()["reason"] == "fewer_items_left"


def test_auto_begins_with_typical_items_where_the_network_has_seen_no_label(
    api: Api,
    ready: Context,  # noqa: F811
) -> None:
    trained(api, epochs=0)
    body = api.suggest(count=2, options={"features": "inputs", "search": "swap"})
    # No strategy takes both.
    assert_problem(body, 422, "invalid_options")
    found = api.suggest(count=2, options={"features": "inputs"}, seed=5).json()
    assert found["strategy"] == "typiclust"
    assert found["reason"].startswith("auto chose typiclust: there is no label yet")
    assert found["options"]["features"] == "inputs"
    same = api.suggest(count=2, strategy="typiclust", options={"features": "inputs"}, seed=5).json()
    assert same["suggestions"] == found["suggestions"]
    classes = len(api.get("/projects/p").json()["classes"])
    for k in range(COVERED * classes):
        assert api.suggest().json()["strategy"] == "typiclust"
        api.label(f"item-{k}", "b")
    assert api.suggest().json()["strategy"] == "mlmoc"
