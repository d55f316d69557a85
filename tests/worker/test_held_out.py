"""Accuracy on held-out items against a refit in float64, and that their classes reach nothing else."""

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from store import held_out
from store.tables import CurvePoint, FactorRow, KernelState
from tests.api import Api, Json, assert_problem
from tests.worker.conftest import run_queued
from tests.worker.model import Reference
from worker import insights
from worker.context import Context
from worker.figures import Figures

ITEMS, HELD = 60, 40


@pytest.fixture
def judge(working: Context) -> Figures:
    return Figures(working)


def truth_of(model: Reference, count: int = HELD) -> dict[str, str]:
    """True classes of held-out items that the model gets right now and then."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(len(model.classes), (count,), generator=generator).tolist()
    return {f"test-{k}": model.classes[label] for k, label in enumerate(drawn)}


def expected(model: Reference, truth: dict[str, str]) -> float:
    outputs = model.expected_outputs()
    hits = [model.classes[int(outputs[model.names.index(item)].argmax())] == label for item, label in truth.items()]
    return float(np.mean(hits))


def send(api: Api, truth: dict[str, str | None]) -> Json:
    answer = api.post(
        "/projects/p/held-out-labels", {"labels": [{"item": item, "label": label} for item, label in truth.items()]}
    )
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def points(api: Api) -> list[Json]:
    found: list[Json] = api.get("/projects/p/curve").json()["points"]
    return found


@pytest.mark.parametrize("kernel", [{}, {"kind": "last_layer"}], ids=["pntk", "last_layer"])
def test_every_point_has_the_accuracy_of_a_refit(api: Api, judge: Figures, kernel: dict[str, Any]) -> None:
    model = Reference(api, items=ITEMS, dtype="float64", hidden=(12,), held_out=HELD, **kernel)
    truth = truth_of(model)
    assert send(api, {**truth}) == {"accepted": HELD, "labeled": HELD}
    for index in range(3):
        model.label(index)
    model.prepare()
    if kernel:
        # The oracle's kernel is another one: the service's own predictions stand for it.
        def share() -> float:
            found = model.predictions().argmax(dim=1)
            return float(
                np.mean([model.classes[int(found[ITEMS + k])] == label for k, label in enumerate(truth.values())])
            )
    else:

        def share() -> float:
            return expected(model, truth)

    wanted = [share()]
    # One label, several at once, a correction, a withdrawal, and one from outside of any window.
    for step in (lambda: model.label(7), lambda: [model.label(k) for k in range(10, 22)], lambda: model.label(7, 1)):
        step()
        api.suggest(strategy="random")
        wanted.append(share())
    model.withdraw(1)
    api.suggest(strategy="random")
    wanted.append(share())
    judge.flush()
    assert [point["held_out_accuracy"] for point in points(api)] == pytest.approx(wanted, abs=1e-12)
    assert len(set(wanted)) > 2
    assert api.get("/projects/p").json()["held_out_accuracy"] == pytest.approx(wanted[-1])
    told = api.get("/projects/p/diagnostics").json()["held_out"]
    assert told == {"labels": HELD, "accuracy": pytest.approx(wanted[-1])}


def test_items_labeled_outside_the_window(api: Api, judge: Figures) -> None:
    model = Reference(api, items=ITEMS, dtype="float64", hidden=(12,), held_out=HELD, window=10)
    truth = truth_of(model)
    send(api, {**truth})
    model.prepare()
    for index in range(30):
        model.label(index)
    api.suggest(strategy="random")
    judge.flush()
    assert points(api)[-1]["held_out_accuracy"] == pytest.approx(expected(model, truth), abs=1e-12)


def test_classes_told_later_are_judged_at_the_next_look(api: Api, judge: Figures) -> None:
    model = Reference(api, items=ITEMS, dtype="float64", hidden=(12,), held_out=HELD)
    model.prepare()
    model.label(3)
    api.suggest(strategy="random")
    judge.flush()
    assert [point["held_out_accuracy"] for point in points(api)] == [None, None]
    assert api.get("/projects/p/diagnostics").json()["held_out"] is None
    truth = truth_of(model)
    send(api, {**truth})
    api.suggest(strategy="random")
    judge.flush()
    # Of the model as it is; what it was before is not made again.
    assert [point["held_out_accuracy"] for point in points(api)] == [None, pytest.approx(expected(model, truth))]
    # Some are corrected, and some taken back.
    half = dict(list(truth.items())[: HELD // 2])
    assert send(api, {**dict.fromkeys(truth, None), **half})["labeled"] == HELD // 2
    api.suggest(strategy="random")
    judge.flush()
    assert points(api)[-1]["held_out_accuracy"] == pytest.approx(expected(model, half))
    send(api, dict.fromkeys(half, None))
    api.suggest(strategy="random")
    judge.flush()
    assert points(api)[-1]["held_out_accuracy"] is None


def test_the_truth_reaches_neither_the_factor_nor_a_suggestion(
    api: Api, working: Context, judge: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs that differ in the held-out classes alone: every factor row, score and prediction is the same."""

    def everything(truth: dict[str, str | None]) -> list[Any]:
        model.prepare()
        send(api, truth) if truth else None
        model.label(5, 1)
        model.label(9, 2)
        seen: list[Any] = [model.scores(), model.predictions().tolist()]
        judge.flush()
        seen.append(model.scores())
        with working.sessions.begin() as session:
            state = session.scalars(sa.select(KernelState.id).order_by(KernelState.id.desc()).limit(1)).one()
            rows = session.execute(
                sa.select(FactorRow.position, FactorRow.item_position, FactorRow.row)
                .where(FactorRow.state_id == state)
                .order_by(FactorRow.position, FactorRow.revision)
            )
            seen.append([tuple(row) for row in rows])
            seen.append(session.scalar(sa.select(KernelState.leave_one_out_accuracy).where(KernelState.id == state)))
        model.withdraw(5)
        model.withdraw(9)
        return seen

    model = Reference(api, items=ITEMS, dtype="float64", hidden=(12,), held_out=HELD)
    model.label(0)
    without = everything({})
    truth = truth_of(model)
    with_truth = everything({**truth})
    others = everything(dict.fromkeys(truth, model.classes[0]))
    assert without == with_truth == others
    assert len(with_truth[3]) == 3
    log = api.get("/labels", project="p").json()["labels"]
    assert not [event for event in log if event["item"].startswith("test-")]
    project = api.get("/projects/p").json()
    assert (project["labels"], project["held_out"]) == (1, HELD)


def test_a_sample_is_judged_and_stays_while_it_grows(
    api: Api, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    Reference(api, items=10, held_out=300, hidden=(12,))
    send(api, {f"test-{k}": "class 0" for k in range(200)})
    with worker.sessions.begin() as session:
        everyone = held_out.sample(session, 1, 0, 400)
        few = held_out.sample(session, 1, 0, 50)
        assert few == held_out.sample(session, 1, 0, 50)
        assert few != held_out.sample(session, 1, 1, 50)
    assert (len(everyone), len(few)) == (200, 50)
    assert set(few) < set(everyone)
    send(api, {f"test-{k}": "class 0" for k in range(200, 300)})
    with worker.sessions.begin() as session:
        later = {position for position, _ in held_out.sample(session, 1, 0, 50)}
    kept = later & {position for position, _ in few}
    # New items push out their share, and not everybody.
    assert len(kept) >= 20


def test_catch_ups_that_nobody_judges_are_bounded(api: Api, worker: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insights, "WAITING_MAX", 3)
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    for k in range(6):
        api.label(f"item-{k}")
        api.suggest(headers={"Prefer": "wait=0"})
        run_queued(worker)
    states, _ = worker.insights.take(states=True)
    (state,) = states.values()
    assert list(state.catch_ups) == [4, 5, 6]


def test_judging_keeps_to_its_share_of_the_time(api: Api, worker: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    made = Figures(worker, lambda: clock[0])

    judged: list[float] = []

    def slow(*_: Any, **__: Any) -> None:
        judged.append(clock[0])
        clock[0] += 2.0

    monkeypatch.setattr(Figures, "_write", lambda *_: None)
    monkeypatch.setattr(Figures, "_judge", slow)

    def tick(*, labeled: bool) -> None:
        if labeled:
            worker.insights.heard += 1
            worker.insights._states[1] = object()  # type: ignore[assignment]
        made.flush(at_once=False)
        clock[0] += 1.0

    for _ in range(60):
        tick(labeled=True)
    # Two seconds of work, then eighteen of rest.
    assert 3 <= len(judged) <= 4
    while clock[0] < made._judge_at - 17:
        tick(labeled=True)
    before, last = len(judged), clock[0]
    for _ in range(10):
        tick(labeled=False)
    # Nobody labels any more: what waits is judged soon, and once.
    assert len(judged) == before + 1
    assert judged[-1] - last <= 4


@pytest.mark.parametrize(
    ("entry", "status", "code"),
    [
        ({"item": "item-1", "label": "class 0"}, 422, "item_not_held_out"),
        ({"item": "nobody", "label": "class 0"}, 404, "unknown_item"),
        ({"item": "test-1", "label": "class 9"}, 422, "unknown_class"),
        ({"item": "test-1", "label": 3}, 422, "unknown_class"),
        ({"item": "test-1"}, 422, "invalid_request"),
        ({"item": "test-1", "label": "class 0", "annotator": "ann"}, 422, "invalid_request"),
    ],
)
def test_what_is_refused_changes_nothing(api: Api, entry: Json, status: int, code: str) -> None:
    Reference(api, items=10, held_out=5, hidden=(12,))
    answer = api.post("/projects/p/held-out-labels", {"labels": [{"item": "test-0", "label": "class 1"}, entry]})
    assert_problem(answer, status, code)
    assert api.get("/projects/p/diagnostics").json()["held_out"] is None


def test_files_of_held_out_labels(api: Api, worker: Context) -> None:
    Reference(api, items=10, held_out=5, hidden=(12,))
    path = "/projects/p/held-out-labels"

    def kind(name: str) -> dict[str, str]:
        return {"content-type": name}

    csv = b"item,label\ntest-0,class 1\ntest-1,class 0\n"
    assert api.client.post(path, content=csv, headers=kind("text/csv")).json() == {"accepted": 2, "labeled": 2}
    lines = b'{"item": "test-1", "label": null}\n{"item": "test-2", "label": 2}\n'
    answer = api.client.post(path, content=lines, headers=kind("application/x-ndjson"))
    assert answer.json() == {"accepted": 2, "labeled": 2}
    assert api.client.post(path, files={"file": ("l.csv", csv)}).json() == {"accepted": 2, "labeled": 3}
    named = b"item,label,annotator\ntest-0,class 1,ann\n"
    assert_problem(api.client.post(path, content=named, headers=kind("text/csv")), 422, "invalid_labels")
    assert_problem(api.client.post(path, content=b"x", headers=kind("text/plain")), 415, "unsupported_media_type")
    with worker.sessions.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(CurvePoint)) == 0
