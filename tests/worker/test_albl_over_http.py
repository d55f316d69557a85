"""albl learns from the labels that come back, whichever worker it is asked of: its memory is the project's row."""

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from store import bandits
from store.tables import Bandit
from tests import oracles
from tests.api import Api, Json
from tests.worker.conftest import run_queued
from tests.worker.model import Reference
from tests.worker.test_suggest import items
from worker.context import Context
from worker.jobs import run_in

ARMS = ("coreset", "least_confidence")
FLOOR, DELTA, HORIZON = 1 / 20, 0.1, 100


@pytest.fixture
def project(api: Api, worker: Context) -> Reference:
    """A prepared project of 24 items, in float64, with three labels that nobody was asked for."""
    made = Reference(api, items=24, dtype="float64", ridge=1e-2)
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            run_queued(worker)
            stopped.wait(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        made.prepare()
    finally:
        stopped.set()
        thread.join()
    for index in range(3):
        made.label(index)
    return made


def queued(api: Api, **more: Any) -> str:
    request = {"strategy": "albl", "count": 3, "seed": 1, **more}
    answer = api.suggest(headers={"Prefer": "wait=0"}, **request)
    assert answer.status_code == 202, answer.text
    found: str = answer.json()["id"]
    return found


def result(api: Api, job_id: str) -> Json:
    job = api.get(f"/jobs/{job_id}").json()
    assert job["status"] == "succeeded", job
    found: Json = job["result"]
    return found


def ask(api: Api, context: Context, **more: Any) -> Json:
    """What this worker answers."""
    job_id = queued(api, **more)
    assert run_queued(context) == 1
    return result(api, job_id)


def stored(context: Context) -> tuple[int, Json]:
    with context.sessions.begin() as session:
        row = session.execute(sa.select(Bandit.version, Bandit.memory)).one()
    return row.version, row.memory


def waiting_in(memory: Json) -> dict[int, Json]:
    """By item, what was proposed and has no label yet."""
    found = {proposal["item"]: proposal for proposal in memory["waiting"]}
    assert len(found) == len(memory["waiting"])
    return found


def position(item: str) -> int:
    return int(item.removeprefix("item-"))


def hits(project: Reference) -> dict[int, bool]:
    """By labeled item, whether a model of the other labels predicts its class."""
    found = {}
    for left_out, truth in project.labels.items():
        others = {k: label for k, label in project.labels.items() if k != left_out}
        outputs = oracles.refit(project.gram, project.outputs, project.ridge, list(others), list(others.values()))
        found[left_out] = int(outputs[left_out].argmax()) == truth
    return found


def expected_weights(weights: Json, proposals: list[tuple[int, Json]], right: dict[int, bool]) -> dict[str, float]:
    """EXP4.P along the labels as they came in; each is rewarded by the importance-weighted accuracy up to it."""
    found = {arm: float(weights[arm]) for arm in ARMS}
    for rank, (_, proposal) in enumerate(proposals):
        so_far = proposals[: rank + 1]
        total = sum(1 / p["chance"] for _, p in so_far)
        gained = sum(1 / p["chance"] for item, p in so_far if right[item]) / total
        for arm in ARMS:
            estimate = gained / proposal["chance"] if arm in proposal["proposers"] else 0.0
            spread = math.sqrt(math.log(len(ARMS) / DELTA) / (len(ARMS) * HORIZON)) / proposal["arms"][arm]
            found[arm] *= math.exp(FLOOR / 2 * (estimate + spread))
    return {arm: value / max(found.values()) for arm, value in found.items()}


def test_labels_that_come_back_move_the_weights(api: Api, worker: Context, project: Reference) -> None:
    first = ask(api, worker, count=5)
    assert first["diagnostics"]["weights"] == {"coreset": 1.0, "least_confidence": 1.0}
    assert first["diagnostics"]["probabilities"] == {"coreset": 0.5, "least_confidence": 0.5}
    assert first["diagnostics"]["labels_learned_from"] == 0
    version, memory = stored(worker)
    assert version == 1
    waiting = waiting_in(memory)
    picked = [position(item) for item in items(first)]
    assert sorted(waiting) == sorted(picked)
    assert [waiting[k]["chance"] for k in picked] == [s["score"] for s in first["suggestions"]]
    # Where the arms agree the pick was certain; else it had the chance of the arm that named it.
    for proposal in waiting.values():
        assert proposal["chance"] == pytest.approx(0.5 * len(proposal["proposers"]))
    # The labels come in another order than they were asked for, one is withheld, one was never asked for.
    order = [picked[k] for k in (3, 0, 4, 1)]
    for index in order[:2]:
        project.label(index)
    project.label(next(k for k in project.candidates if k not in picked))
    for index in order[2:]:
        project.label(index)
    second = ask(api, worker)
    assert second["diagnostics"]["labels_learned_from"] == 4
    expected = expected_weights({"coreset": 1, "least_confidence": 1}, [(k, waiting[k]) for k in order], hits(project))
    assert second["diagnostics"]["weights"] == pytest.approx(expected, rel=1e-9)
    assert min(expected.values()) < 0.999
    share = expected["coreset"] / sum(expected.values())
    assert second["diagnostics"]["probabilities"]["coreset"] == pytest.approx((1 - 2 * FLOOR) * share + FLOOR)
    assert picked[2] in waiting_in(stored(worker)[1])
    # What is learned is learned once; a label that is taken back and given again is no news.
    project.withdraw(order[0])
    project.label(order[0])
    assert ask(api, worker)["diagnostics"]["weights"] == second["diagnostics"]["weights"]


def test_the_first_proposals_are_the_arms_own(api: Api, worker: Context, project: Reference) -> None:
    ask(api, worker, count=1)
    _, memory = stored(worker)
    ((picked, proposal),) = waiting_in(memory).items()
    outputs = project.expected_outputs()
    unsure = min(project.candidates, key=lambda k: float(outputs[k].softmax(dim=0).max()))
    assert (picked == unsure) == ("least_confidence" in proposal["proposers"])


def test_the_memory_outlives_the_worker(
    api: Api, worker: Context, new_context: Callable[[], Context], project: Reference
) -> None:
    for item in items(ask(api, worker, count=4)):
        project.label(position(item))
    worker.stopping.set()
    another, third = new_context(), new_context()
    learned = ask(api, another, count=4)
    assert learned["diagnostics"]["labels_learned_from"] == 4
    assert learned["diagnostics"]["weights"] != {"coreset": 1.0, "least_confidence": 1.0}
    version, memory = stored(another)
    assert memory["weights"] == learned["diagnostics"]["weights"]
    asked = [(s["item"], s["score"]) for s in learned["suggestions"]]
    # A third has seen none of it, and answers as the second does when asked again; nothing is learned twice.
    fresh, again = ask(api, third, count=4), ask(api, another, count=4)
    for answer in (fresh, again):
        assert [(s["item"], s["score"]) for s in answer["suggestions"]] == asked
        assert answer["diagnostics"] == learned["diagnostics"]
    assert stored(third) == (version + 2, memory)


def test_projects_learn_apart(api: Api, worker: Context, project: Reference) -> None:
    for item in items(ask(api, worker)):
        project.label(position(item))
    api.project("q")
    api.pool(name="q")
    api.mlp("q")
    assert run_queued(worker) == 1
    other = api.suggest("q", strategy="albl", headers={"Prefer": "wait=0"}).json()["id"]
    assert run_queued(worker) == 1
    assert result(api, other)["diagnostics"]["labels_learned_from"] == 0
    assert ask(api, worker)["diagnostics"]["labels_learned_from"] == 3


@pytest.mark.parametrize("begun", [False, True], ids=["first picks", "with labels to learn from"])
def test_two_at_once_lose_nothing(
    begun: bool,
    api: Api,
    worker: Context,
    new_context: Callable[[], Context],
    project: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known: list[int] = []
    if begun:
        known = [position(item) for item in items(ask(api, worker))]
        for index in known:
            project.label(index)
    before = stored(worker)[0] if begun else 0
    both_have_read = threading.Barrier(2, timeout=20)
    reads: list[int] = []
    read = bandits.read

    def meeting(session: Session, project_id: int) -> tuple[int, Json | None]:
        found = read(session, project_id)
        reads.append(found[0])
        if len(reads) <= 2:
            both_have_read.wait()
        return found

    monkeypatch.setattr("store.bandits.read", meeting)
    candidates = project.candidates
    halves = [[project.names[k] for k in candidates if k % 2 == side] for side in (0, 1)]
    contexts = [worker, new_context()]
    for context in contexts:
        # Both know every label already: nothing but the bandit's memory is written twice.
        ask(api, context, strategy="margin")
    jobs = [queued(api, exclude=half) for half in halves]
    threads = [
        threading.Thread(target=run_in, args=(context, job)) for context, job in zip(contexts, jobs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    answers = [result(api, job) for job in jobs]
    # Both started from the same memory, and one of them had to begin again from the other's.
    assert reads == [before, before, before + 1]
    version, memory = stored(worker)
    assert version == before + 2
    picked = {position(item) for answer in answers for item in items(answer)}
    assert len(picked) == 6
    assert set(waiting_in(memory)) == picked
    assert memory["learned"] == len(known)
    assert sorted(item for item, _ in memory["history"]) == sorted(known)
    assert [answer["diagnostics"]["labels_learned_from"] for answer in answers] == [len(known)] * 2
    assert answers[0]["diagnostics"]["weights"] == answers[1]["diagnostics"]["weights"] == memory["weights"]


def test_what_was_drawn_at_random_teaches_nothing(api: Api, worker: Context, project: Reference) -> None:
    mixed = ask(api, worker, count=6, random_share=0.5)["suggestions"]
    assert [s["picked_by"] for s in mixed] == ["albl"] * 3 + ["random"] * 3
    assert set(waiting_in(stored(worker)[1])) == {position(s["item"]) for s in mixed[:3]}
    for suggestion in mixed[3:]:
        project.label(position(suggestion["item"]))
    assert ask(api, worker)["diagnostics"]["labels_learned_from"] == 0


def test_a_failed_request_leaves_the_memory_alone(
    api: Api, worker: Context, project: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(api, worker)
    before = stored(worker)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("store.suggestions.record", broken)
        job = queued(api, seed=7)
        run_queued(worker)
        assert api.get(f"/jobs/{job}").json()["status"] == "failed"
    assert stored(worker) == before
    ask(api, worker, seed=7)
    assert stored(worker)[0] == before[0] + 1


def test_the_oldest_proposals_are_forgotten_first(
    api: Api, worker: Context, project: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.strategies.bandit._WAITING_MAX", 6)
    asked: list[list[int]] = []
    for _ in range(4):
        named = [project.names[k] for found in asked for k in found]
        asked.append([position(item) for item in items(ask(api, worker, exclude=named))])
    assert set(waiting_in(stored(worker)[1])) == {*asked[2], *asked[3]}
    # Asked for again, an old proposal is a new one.
    keep = set(asked[2])
    again = ask(api, worker, exclude=[project.names[k] for k in project.candidates if k not in keep])
    assert {position(item) for item in items(again)} == keep
    ask(api, worker, exclude=[project.names[k] for found in asked for k in found])
    assert keep <= set(waiting_in(stored(worker)[1]))
