"""Everything /suggest and /predictions say, against a refit from scratch in float64."""

from typing import Any

import pytest
import sqlalchemy as sa
import torch

from store import states
from store.tables import KernelState
from tests import oracles
from tests.api import Api
from tests.worker.conftest import run_queued
from tests.worker.model import Reference
from worker.context import Context

CASES: list[tuple[dict[str, Any], int]] = [
    ({"seed": 1, "dtype": "float64"}, 0),
    ({"seed": 2, "dtype": "float64", "classes": 10, "ridge": 1e-2, "hidden": (32,)}, 30),
    ({"seed": 3, "dtype": "float64", "classes": 2, "ridge": 1e-3, "features": 20, "items": 90}, 5),
    ({"seed": 4, "dtype": "float32"}, 10),
    ({"seed": 5, "dtype": "float32", "classes": 10, "hidden": (32, 32, 16), "features": 12}, 40),
    ({"seed": 6, "dtype": "float32", "classes": 2, "ridge": 1e-2, "features": 3, "hidden": ()}, 20),
]
BOUND = {"float64": 1e-5, "float32": 1e-3}


@pytest.mark.parametrize(("arguments", "before"), CASES, ids=lambda value: str(value))
def test_before_and_after_fifty_streamed_labels(
    arguments: dict[str, Any], before: int, api: Api, working: Context
) -> None:
    reference = Reference(api, **arguments)
    for index in range(before):
        reference.label(index)
    reference.prepare()
    bound = BOUND[arguments["dtype"]]
    reference.check(bound)
    for k in range(50):
        seq = reference.label(before + k)
        if k % 5 == 0:
            answer = api.suggest().json()
            assert answer["label_seq"] == seq
            assert answer["suggestions"][0]["item"] not in {reference.names[i] for i in reference.labels}
    reference.check(bound)
    _check_factor(working, reference)


def _check_factor(context: Context, reference: Reference) -> None:
    """Stored rows equal the from-scratch factor of the stored kernel, and nearly that of the oracle's."""
    with context.sessions.begin() as session:
        state = session.scalars(sa.select(KernelState).order_by(KernelState.id.desc()).limit(1)).one()
        rows = states.factor_rows(session, state.id, start=0, stop=state.labeled_count)
    assert len(rows) == len(reference.labels) == state.labeled_count
    with context.live.use(context, state.id) as live:
        kept = live.posterior.gram.double()
        at = [live.index[row.item_position] for row in rows]
    A = kept[at][:, at] + reference.ridge * torch.eye(len(at), dtype=torch.float64)
    expected = torch.linalg.cholesky(A)
    for k, row in enumerate(rows):
        assert row.row.shape == (k + 1,)
        assert torch.allclose(torch.from_numpy(row.row.copy()), expected[k, : k + 1], rtol=1e-8, atol=1e-8)


def test_corrections_withdrawals_and_skips(api: Api, working: Context) -> None:
    reference = Reference(api, items=40, dtype="float64", ridge=1e-3)
    for index in range(8):
        reference.label(index)
    reference.prepare()
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        index = int(torch.randint(40, (1,), generator=generator))
        kind = int(torch.randint(4, (1,), generator=generator))
        if kind == 0:
            reference.withdraw(index)
        elif kind == 1:
            reference.skip(index)
        else:
            reference.label(index, int(torch.randint(3, (1,), generator=generator)))
        if step % 10 == 9:
            reference.check(1e-6)


def test_a_cold_worker_knows_what_a_warm_one_did(api: Api, worker: Context, new_context: Any) -> None:
    reference = Reference(api, items=40, dtype="float64", ridge=1e-3)
    answer = api.checkpoint(reference.module, options={"hidden": [16, 8]})
    assert answer.status_code == 202
    run_queued(worker)
    reference.ridge = api.get(answer.headers["location"]).json()["result"]["ridge"]
    contexts = [worker, new_context(), new_context()]
    for step in range(12):
        reference.label(step)
        if step == 5:
            reference.withdraw(2)
            reference.label(3, (reference.truth[3] + 1) % 3)
        waiting = api.suggest(headers={"Prefer": "wait=0"}, count=40, strategy="mlmoc", options={"batch": "top_k"})
        assert waiting.status_code == 202
        assert run_queued(contexts[step % 3]) == 1
        job = api.get(waiting.headers["location"]).json()
        assert job["status"] == "succeeded", job
        found = {entry["item"]: entry["score"] for entry in job["result"]["suggestions"]}
        expected = reference.expected_scores()
        assert found.keys() == expected.keys()
        assert all(found[k] == pytest.approx(expected[k], rel=1e-6) for k in expected)


def test_labels_outside_the_window_are_brought_in(api: Api, working: Context, new_context: Any) -> None:
    reference = Reference(api, items=60, dtype="float64", ridge=1e-3, window=20, held_out=5)
    for index in (0, 1):
        reference.label(index)
    reference.prepare()
    inside = set(reference.scores())
    assert len(inside) == 20
    assert api.suggest(count=30).json()["reason"] == "rest_outside_window"
    outside = [k for k in range(60) if reference.names[k] not in inside and k not in reference.labels]
    assert len(outside) == 38
    for index in outside[:3]:
        reference.label(index)
    found = reference.scores()
    assert set(found) == inside
    bound = 1e-6
    assert torch.allclose(reference.predictions(), reference.expected_outputs(), rtol=bound, atol=bound)
    assert torch.allclose(reference.predictions("network"), reference.outputs, rtol=bound, atol=bound)
    values = oracles.mlmoc(
        reference.gram,
        reference.outputs,
        reference.ridge,
        list(reference.labels),
        list(reference.labels.values()),
        [k for k in range(60) if reference.names[k] in inside],
    )
    assert list(found.values()) == pytest.approx(sorted(values.tolist(), reverse=True), rel=1e-6)
    # The same after every worker has forgotten it.
    working.live._states.clear()
    again = reference.scores()
    assert again == pytest.approx(found, rel=1e-9)


def test_greedy_batch_and_reasons(api: Api, working: Context) -> None:
    reference = Reference(api, items=40, dtype="float64", ridge=1e-2)
    for index in range(6):
        reference.label(index)
    reference.prepare()
    answer = api.suggest(count=5, strategy="mlmoc", options={"why": 3}).json()
    ys = list(reference.labels.values())
    picks, scores = oracles.greedy_mlmoc(
        reference.gram,
        reference.outputs,
        reference.ridge,
        list(reference.labels),
        ys,
        reference.candidates,
        5,
    )
    assert [s["item"] for s in answer["suggestions"]] == [reference.names[k] for k in picks]
    assert [s["score"] for s in answer["suggestions"]] == pytest.approx(scores, rel=1e-6)
    assert [s["rank"] for s in answer["suggestions"]] == [1, 2, 3, 4, 5]
    f = reference.expected_outputs()
    best = int(f[picks[0]].argmax())
    assert answer["suggestions"][0]["predicted"] == reference.classes[best]
    assert answer["suggestions"][0]["confidence"] == pytest.approx(
        oracles.nearest_probabilities(f[picks[0]].tolist())[best]
    )
    then = oracles.refit(reference.gram, reference.outputs, reference.ridge, [*reference.labels, picks[0]], [*ys, best])
    change = {reference.names[k]: float((then - f)[k].norm()) for k in reference.candidates if k != picks[0]}
    expected = sorted(change.items(), key=lambda pair: -pair[1])[:3]
    why = answer["suggestions"][0]["why"]
    assert [w["item"] for w in why] == [item for item, _ in expected]
    assert [w["change"] for w in why] == pytest.approx([size for _, size in expected])


@pytest.mark.parametrize("strategy", ["entropy", "margin", "least_confidence"])
def test_uncertainty(strategy: str, api: Api, working: Context) -> None:
    reference = Reference(api, items=40, dtype="float64")
    reference.label(0)
    reference.prepare()
    answer = api.suggest(count=99, strategy=strategy).json()
    f = reference.expected_outputs()
    expected = {reference.names[k]: getattr(oracles, strategy)(f[k].tolist()) for k in reference.candidates}
    found = {s["item"]: s["score"] for s in answer["suggestions"]}
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert answer["reason"] == "fewer_items_left"


def test_leave_one_out_and_progress_of_the_project(api: Api, working: Context) -> None:
    reference = Reference(api, items=40, dtype="float64")
    for index in range(12):
        reference.label(index)
    reference.prepare()
    api.suggest()
    project = api.get("/projects/p").json()
    expected = oracles.leave_one_out(
        reference.gram, reference.outputs, reference.ridge, list(reference.labels), list(reference.labels.values())
    )
    right = [int(row.argmax()) == y for row, y in zip(expected, reference.labels.values(), strict=True)]
    assert project["leave_one_out_accuracy"] == pytest.approx(sum(right) / 12)
    assert project["kernel_state"]["labeled"] == 12
    assert project["kernel_state"]["window"] == 40
    changed = (reference.expected_outputs().argmax(1) != reference.outputs.argmax(1))[reference.candidates]
    assert project["kernel_state"]["changed_predictions"] == pytest.approx(float(changed.double().mean()))
