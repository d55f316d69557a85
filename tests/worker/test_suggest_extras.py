"""What narrows a suggestion: exclusions, quotas, distances, filters, the random share; alone and with every strategy.

What is lawful is read slowly, item by item, from float64 kernels and from the predictions that the service answers.
"""

import math
from collections import Counter
from typing import Any, get_args

import pytest

from api_schemas.strategies import OPTIONS
from tests.api import Api, Json, assert_problem
from tests.worker.model import Reference
from tests.worker.test_suggest import items
from worker.context import Context

ITEMS = 30
# Every strategy but ll4al, which has a test of its own, once for each way that it picks a batch.
BATCHES: list[tuple[str, Json]] = [
    (name, {"batch": batch} if batch else {})
    for name, kind in OPTIONS.items()
    if name != "ll4al"
    for batch in (get_args(kind.model_fields["batch"].annotation) if "batch" in kind.model_fields else (None,))
]
BATCHES += [("npc", {"search": "greedy"}), ("npc", {"search": "swap"}), ("badge", {"partitions": 3})]
BATCH_IDS = ["-".join([name, *map(str, options.values())]) for name, options in BATCHES]
GREEDY = ("mlmoc", {"batch": "greedy"})
TOP = ("mlmoc", {"batch": "top_k"})


@pytest.fixture
def project(api: Api, working: Context) -> Reference:
    """A prepared project whose items carry a site and a size; six of them are labeled."""
    made = Reference(api, items=ITEMS)
    made.prepare()
    for index in range(6):
        made.label(index)
    attributes = {name: {"site": "ab"[k % 2], "size": k} for k, name in enumerate(made.names)}
    answer = api.client.patch("/projects/p/items", json={"attributes": attributes})
    assert answer.status_code == 200, answer.text
    return made


def suggest(api: Api, batch: tuple[str, Json], **more: Any) -> Json:
    name, options = batch
    answer = api.suggest(strategy=name, options={"why": 0, **options}, **{"count": 5, "seed": 3, **more})
    assert answer.status_code == 200, (batch, answer.text)
    found: Json = answer.json()
    assert len(set(items(found))) == len(items(found)), batch
    return found


class Law:
    """Which items the rules of a request leave, read item by item."""

    def __init__(self, project: Reference, rules: Json, held: tuple[str, ...] = ()) -> None:
        predicted = project.predictions().argmax(dim=1).tolist()
        self.predicted = {name: project.classes[k] for name, k in zip(project.names, predicted, strict=True)}
        self.index = {name: k for k, name in enumerate(project.names)}
        self.gram, self.labeled = project.gram, list(project.labels)
        self.open = {project.names[k] for k in project.candidates} - set(held) - set(rules.get("exclude", ()))
        if "filter" in rules:
            site, (low, high) = rules["filter"]["site"], (rules["filter"]["size"][end] for end in ("min", "max"))
            self.open = {n for n in self.open if "ab"[self.index[n] % 2] == site and low <= self.index[n] <= high}
        per_class = rules.get("per_class", {})
        most = ITEMS if isinstance(per_class, dict) else int(per_class)
        self.quota = dict.fromkeys(project.classes, most) | (per_class if isinstance(per_class, dict) else {})
        scale = float(self.gram.diagonal().mean())
        self.least = rules.get("min_distance", 0.0) ** 2 * scale

    def lawful(self, item: str, picked: list[str]) -> bool:
        """Whether the item may follow these picks."""
        taken = Counter(self.predicted[name] for name in picked)
        near = [*self.labeled, *(self.index[name] for name in picked)]
        return (
            item in self.open
            and item not in picked
            and taken[self.predicted[item]] < self.quota[self.predicted[item]]
            and all(self.squared_distance(self.index[item], other) >= self.least for other in near)
        )

    def squared_distance(self, one: int, other: int) -> float:
        return float(self.gram[one, one] + self.gram[other, other] - 2 * self.gram[one, other])

    def check(self, answer: Json, count: int) -> None:
        """Every pick is lawful after those before it; where there are too few, nothing lawful is left."""
        picked = items(answer)
        for rank, item in enumerate(picked):
            assert self.lawful(item, picked[:rank]), (item, picked[:rank])
        left = [item for item in self.open if self.lawful(item, picked)]
        assert len(picked) == count or not left, left
        assert all(s["predicted"] == self.predicted[s["item"]] for s in answer["suggestions"])


RULES: dict[str, Json] = {
    "exclude": {"exclude": [f"item-{k}" for k in range(0, ITEMS, 3)]},
    "per_class": {"per_class": 1},
    "per_class by name": {"per_class": {"class 0": 3, "class 1": 0}},
    "min_distance": {"min_distance": 0.4},
    "filter": {"filter": {"site": "a", "size": {"min": 8, "max": 24}}},
    "random_share": {"random_share": 0.5},
    "together": {
        "exclude": ["item-10", "item-11"],
        "filter": {"site": "b", "size": {"min": 7, "max": 29}},
        "per_class": 2,
        "min_distance": 0.3,
        "random_share": 0.4,
    },
}


@pytest.mark.parametrize("rule", RULES)
def test_no_strategy_picks_past_a_rule(rule: str, api: Api, project: Reference) -> None:
    law = Law(project, RULES[rule])
    # All rules with all strategies, and each by itself with every third, another third each.
    begin = list(RULES).index(rule)
    for batch in BATCHES if rule == "together" else BATCHES[begin % 3 :: 3]:
        answer = suggest(api, batch, count=8, **RULES[rule])
        law.check(answer, 8)
        by = [s["picked_by"] for s in answer["suggestions"]]
        assert by == sorted(by, key=lambda name: name == "random"), (batch, by)
        assert set(by) <= {batch[0], "random"}
        if "random_share" not in RULES[rule]:
            assert set(by) <= {batch[0]}
        if rule == "together":
            assert items(suggest(api, batch, count=8, **RULES[rule])) == items(answer), batch


def test_the_rules_bind(api: Api, project: Reference) -> None:
    """Each request above would break its rule without it, and where picks bind each other, by later picks too."""
    order = items(suggest(api, TOP, count=24))
    for rule, rules in RULES.items():
        law = Law(project, rules)
        alone = [item for item in order if law.lawful(item, [])]
        assert len(alone) >= 5, rule
        assert (order == alone) == (rule in {"per_class", "random_share"}), rule
        jointly = all(law.lawful(item, alone[:rank]) for rank, item in enumerate(alone[:8]))
        assert jointly == (rule in {"exclude", "filter", "random_share"}), rule


@pytest.mark.parametrize("batch", [TOP, ("entropy", {}), ("egl", {})], ids=["mlmoc", "entropy", "egl"])
def test_scores_do_not_depend_on_what_is_excluded(batch: tuple[str, Json], api: Api, project: Reference) -> None:
    everything = suggest(api, batch, count=ITEMS)["suggestions"]
    gone = [s["item"] for s in everything[:4]]
    rest = suggest(api, batch, count=3, exclude=[*gone, *gone, "item-0"])
    expected = [(s["item"], s["score"]) for s in everything[4:7]]
    assert [(s["item"], s["score"]) for s in rest["suggestions"]] == expected
    assert [s["rank"] for s in rest["suggestions"]] == [1, 2, 3]
    assert rest["reason"] is None


def test_unknown_items_are_refused_by_name(api: Api, project: Reference) -> None:
    before = api.get("/jobs", limit=1).json()["jobs"][0]["id"]
    problem = assert_problem(
        api.suggest(exclude=["item-3", "nowhere", "item-30"]), 404, "unknown_item", "'nowhere'", "'item-30'", "'p'"
    )
    assert "item-3'" not in problem["detail"].replace("'item-30'", "")
    many = assert_problem(api.suggest(exclude=[f"no-{k}" for k in range(40)]), 404, "unknown_item", "'no-0'", "'no-4'")
    assert len(many["detail"]) < 200
    assert_problem(api.suggest(exclude=["a\nb"]), 422, "invalid_request", "exclude.0")
    assert api.get("/jobs", limit=1).json()["jobs"][0]["id"] == before


@pytest.mark.parametrize("batch", [GREEDY, TOP, ("random", {})], ids=["greedy", "top_k", "random"])
def test_quotas_go_by_predicted_class_and_say_when_they_are_full(
    batch: tuple[str, Json], api: Api, project: Reference
) -> None:
    classes = Counter(Law(project, {}).predicted[project.names[k]] for k in project.candidates)
    two = suggest(api, batch, count=24, per_class=2)
    assert Counter(s["predicted"] for s in two["suggestions"]) == {name: min(2, n) for name, n in classes.items()}
    assert two["reason"] == "rules_leave_no_more"
    named = suggest(api, batch, count=24, per_class={"class 1": 1})
    found = Counter(s["predicted"] for s in named["suggestions"])
    assert found == {name: 1 if name == "class 1" else n for name, n in classes.items()}
    assert named["reason"] == "rules_leave_no_more"
    none = suggest(api, batch, per_class=dict.fromkeys(project.classes, 0))
    assert (none["suggestions"], none["reason"]) == ([], "rules_leave_no_more")
    assert suggest(api, batch, count=25, per_class=24)["reason"] == "fewer_items_left"
    assert suggest(api, batch, count=24, per_class=24)["reason"] is None


def test_quotas_of_unknown_classes_and_wrong_numbers_are_refused(api: Api, project: Reference) -> None:
    assert_problem(api.suggest(per_class={"class 1": 2, "cat": 1}), 422, "unknown_class", "'cat'", "'class 1'")
    numbers: list[Any] = [0, -1, 1.5, "2", True, [], 10**30]
    wrong: list[tuple[Any, str]] = [(k, "per_class") for k in numbers]
    wrong += [({"class 1": k, "class 2": 1}, "per_class.class 1") for k in (-1, 0.5, True, None, 10**30)]
    for given, field in wrong:
        problem = assert_problem(api.suggest(per_class=given), 422, "invalid_request", field)
        assert [error["field"] for error in problem["errors"]] == [field]


def test_the_random_share(api: Api, project: Reference) -> None:
    for batch in (GREEDY, TOP, ("coreset", {}), ("albl", {})):
        half = suggest(api, batch, count=8, random_share=0.5)
        assert [s["picked_by"] for s in half["suggestions"]] == [batch[0]] * 4 + ["random"] * 4
        first = half["suggestions"][:4]
        alone = suggest(api, batch, count=4)["suggestions"]
        assert [s["item"] for s in first] == [s["item"] for s in alone]
        same = suggest(api, batch, count=8, random_share=0.5)
        assert same["suggestions"] == half["suggestions"]
        others = [items(suggest(api, batch, count=8, random_share=0.5, seed=seed))[4:] for seed in range(4, 8)]
        assert len({tuple(sorted(found)) for found in others}) > 1
    whole = suggest(api, TOP, count=8, random_share=1)
    assert {s["picked_by"] for s in whole["suggestions"]} == {"random"}
    assert whole["strategy"] == "mlmoc"
    assert items(whole) == items(suggest(api, ("entropy", {}), count=8, random_share=1.0))
    assert items(whole) == items(suggest(api, ("random", {}), count=8))
    for wrong in (-0.1, 1.01, "0.5", True, None):
        assert_problem(api.suggest(random_share=wrong), 422, "invalid_request", "random_share")


def test_a_share_of_less_than_one_pick_is_decided_by_chance(api: Api, project: Reference) -> None:
    seeds = range(24)
    by = [suggest(api, TOP, count=1, random_share=0.5, seed=s)["suggestions"][0]["picked_by"] for s in seeds]
    # Of 24 fair coins fewer than 3 or more than 21 fall on one side once in twenty-five thousand times.
    assert 3 <= by.count("random") <= 21


def test_distances_are_those_of_the_kernel(api: Api, project: Reference) -> None:
    law = Law(project, {})
    unit = float(law.gram.diagonal().mean())

    def distance(one: int, other: int) -> float:
        return math.sqrt(law.squared_distance(one, other) / unit)

    def left(at_least: float, *among: int) -> int:
        others = [name for name, k in law.index.items() if k not in among]
        return len(items(suggest(api, GREEDY, count=2, exclude=others, min_distance=at_least)))

    far = {k: min(distance(k, other) for other in project.labels) for k in project.candidates}
    for one in list(far)[::5]:
        assert [left(far[one] * share, one) for share in (0.9999, 1.0001)] == [1, 0]
    pairs = [(a, b) for a in far for b in far if a < b and distance(a, b) < 0.99 * min(far[a], far[b])]
    assert len(pairs) > 3
    for a, b in pairs[::3]:
        assert [left(distance(a, b) * share, a, b) for share in (0.9999, 1.0001)] == [2, 1]
    for wrong in (0, -1, 11, "0.5", True):
        assert_problem(api.suggest(min_distance=wrong), 422, "invalid_request", "min_distance")


def test_a_filter_that_matches_nothing(api: Api, project: Reference) -> None:
    for batch in (GREEDY, TOP, ("random", {}), ("coreset", {})):
        answer = suggest(api, batch, filter={"site": "c"})
        assert (answer["suggestions"], answer["reason"]) == ([], "rules_leave_no_more")
    # What it matches is labeled already.
    answer = suggest(api, TOP, filter={"size": {"max": 5}})
    assert (answer["suggestions"], answer["reason"]) == ([], "rules_leave_no_more")
    assert_problem(api.suggest(filter={"size": {"least": 5}}), 422, "invalid_request", "filter")


@pytest.mark.parametrize("batch", [GREEDY, TOP], ids=["greedy", "top_k"])
def test_filters_with_leases_and_exclusions(batch: tuple[str, Json], api: Api, project: Reference) -> None:
    rules = {"filter": {"site": "b", "size": {"min": 7, "max": 17}}, "exclude": ["item-9"]}
    mine = suggest(api, batch, count=2, annotator="ann", **rules)
    Law(project, rules).check(mine, 2)
    theirs = suggest(api, batch, count=9, annotator="bob", **rules)
    Law(project, rules, held=tuple(items(mine))).check(theirs, 9)
    assert {*items(mine), *items(theirs)} == {f"item-{k}" for k in (7, 11, 13, 15, 17)}
    assert theirs["reason"] == "others_hold_the_rest"
    # Attributes may change while items are held.
    api.client.patch("/projects/p/items", json={"attributes": {"item-19": {"size": 8}, "item-9": {"site": None}}})
    more = suggest(api, batch, count=9, annotator="eve", filter=rules["filter"])
    assert items(more) == ["item-19"]
    # Asking again renews what ann holds, and gives nothing of what others hold.
    assert set(items(suggest(api, batch, count=9, annotator="ann", **rules))) == set(items(mine))


def test_the_reason_names_what_stands_in_the_way(api: Api, project: Reference) -> None:
    held = items(suggest(api, TOP, count=10, annotator="ann"))
    rest = suggest(api, TOP, count=24, exclude=["item-0"])
    # The excluded item is labeled: it is the lease that leaves too few.
    assert (len(rest["suggestions"]), rest["reason"]) == (14, "others_hold_the_rest")
    free = items(rest)
    assert suggest(api, TOP, count=24, exclude=held)["reason"] == "rules_leave_no_more"
    assert suggest(api, TOP, exclude=free)["reason"] == "others_hold_the_rest"
    assert suggest(api, TOP, count=4, exclude=free[4:])["reason"] is None
