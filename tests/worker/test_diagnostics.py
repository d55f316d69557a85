"""GET /projects/{name}/diagnostics against what was uploaded, labeled and suggested."""

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from store import insights
from store.tables import KernelState, LabelEvent, StateInsight
from tests import oracles
from tests.api import Api, Json, assert_problem, names, npz
from tests.worker.model import Reference
from worker.context import Context
from worker.figures import Figures


def diagnostics(api: Api) -> Json:
    answer = api.get("/projects/p/diagnostics")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def test_before_anything_is_there(api: Api) -> None:
    api.project()
    assert diagnostics(api) == {
        "label_seq": 0,
        "kernel": None,
        "spectrum": None,
        "condition": None,
        "jitter": 0.0,
        "scores": None,
        "classes": [{"class": name, "labels": 0, "predicted": None} for name in "abc"],
        "arrivals": [],
        "drift": {
            "changed_predictions": None,
            "labels_since_checkpoint": None,
            "advice_codes": ["upload_pool", "upload_checkpoint"],
        },
        "held_out": None,
    }
    assert_problem(api.get("/projects/q/diagnostics"), 404, "unknown_project")


def test_the_model_from_inside(api: Api, working: Context) -> None:
    model = Reference(api, items=50, dtype="float64", hidden=(12,))
    model.prepare()
    found = diagnostics(api)
    # Known as soon as the state is prepared.
    assert found["kernel"] == "kernel-1"
    assert found["spectrum"]["items"] == 50
    wanted = oracles.spectrum(model.gram[:50, :50])
    assert found["spectrum"]["eigenvalues"] == pytest.approx(wanted, abs=1e-9 * wanted[0])
    predicted = model.expected_outputs()[:50].argmax(dim=1)
    assert [entry["predicted"] for entry in found["classes"]] == torch.bincount(predicted, minlength=3).tolist()
    assert (found["condition"], found["scores"]) == (None, None)
    for index in (1, 2, 30):
        model.label(index)
    model.skip(40)
    scores = model.scores()
    Figures(working).flush()
    found = diagnostics(api)
    assert found["label_seq"] == found["scores"]["label_seq"] == 4
    told = found["scores"]
    at = torch.tensor(list(model.labels))
    matrix = model.gram[at][:, at] + model.ridge * torch.eye(3, dtype=torch.float64)
    assert found["condition"] == pytest.approx(float(torch.linalg.cond(matrix)), rel=1e-6)
    assert told["strategy"] == "mlmoc"
    values = list(scores.values())
    counts, edges = np.histogram(values, 30)
    assert (told["counts"], told["edges"]) == (counts.tolist(), pytest.approx(edges.tolist()))
    assert sum(told["counts"]) == len(model.candidates)
    figures = (min(values), float(np.median(values)), max(values))
    assert (told["smallest"], told["median"], told["largest"]) == pytest.approx(figures)
    predicted = model.expected_outputs()[model.candidates].argmax(dim=1)
    labels = torch.bincount(torch.tensor(list(model.labels.values())), minlength=3).tolist()
    assert found["classes"] == [
        {"class": name, "labels": labels[k], "predicted": int((predicted == k).sum())}
        for k, name in enumerate(model.classes)
    ]
    assert found["drift"]["labels_since_checkpoint"] == 3
    project = api.get("/projects/p").json()
    assert found["drift"]["changed_predictions"] == project["kernel_state"]["changed_predictions"]
    assert found["drift"]["advice_codes"] == project["advice_codes"]
    assert sum(span["labels"] for span in found["arrivals"]) == 3
    assert sum(span["skips"] for span in found["arrivals"]) == 1


def test_scores_are_of_all_candidates_and_of_the_first_pick(api: Api, working: Context) -> None:
    model = Reference(api, items=40, dtype="float64", hidden=(12,))
    model.label(0)
    model.prepare()
    figures = Figures(working)
    wanted = model.scores()
    # Also those that somebody holds, and whatever is picked at random beside.
    api.suggest(count=5, annotator="ann")
    api.suggest(count=4, strategy="mlmoc", options={"batch": "greedy"}, random_share=0.5, annotator="ben")
    figures.flush()
    told = diagnostics(api)["scores"]
    assert sum(told["counts"]) == 39
    assert (told["smallest"], told["largest"]) == pytest.approx((min(wanted.values()), max(wanted.values())))
    # A strategy without scores leaves the last ones; a model without suggestions has none.
    api.suggest(strategy="coreset")
    api.suggest(strategy="random")
    figures.flush()
    assert diagnostics(api)["scores"] == told
    api.suggest(strategy="entropy")
    figures.flush()
    assert diagnostics(api)["scores"]["strategy"] == "entropy"
    model.prepare()
    assert diagnostics(api)["scores"] is None


def test_the_spectrum_follows_a_window_that_grows(api: Api, working: Context) -> None:
    model = Reference(api, items=40, dtype="float64", hidden=(12,), window=20)
    model.prepare()
    before = diagnostics(api)["spectrum"]
    with working.sessions.begin() as session:
        window = session.scalars(sa.select(KernelState.window)).one()
    inside = {int(position) for position in working.artifacts.array(window)}
    api.suggest(strategy="random")
    outside = [k for k in range(40) if k not in inside][:5]
    for index in outside:
        model.label(index)
    api.suggest(strategy="random")
    Figures(working).flush()
    after = diagnostics(api)["spectrum"]
    assert (before["items"], after["items"]) == (20, 25)
    at = torch.tensor([*inside, *outside])
    wanted = oracles.spectrum(model.gram[at][:, at])
    assert after["eigenvalues"] == pytest.approx(wanted, abs=1e-9 * wanted[0])


def test_states_that_are_gone_leave_nothing(api: Api, working: Context) -> None:
    model = Reference(api, items=20, hidden=(12,))
    for _ in range(4):
        model.prepare()
    with working.sessions.begin() as session:
        assert sorted(session.scalars(sa.select(StateInsight.state_id))) == [3, 4]


@pytest.mark.parametrize("span", [0.0, 30.0, 119.0, 3600.0, 86_400.0 * 3, 86_400.0 * 365 * 40])
def test_arrivals_fit_into_so_many_spans(api: Api, worker: Context, span: float) -> None:
    api.project()
    api.upload(npz(x=np.zeros((200, 2), np.float32), ids=np.array(names(200))))
    entries = [{"item": f"item-{k}", **({"skip": True} if k % 3 == 0 else {"label": "a"})} for k in range(150)]
    assert api.post("/labels", {"project": "p", "labels": entries}).status_code == 201
    api.label("item-1", None)
    began = datetime(1985, 3, 1, 11, 59, 59, 500_000, tzinfo=UTC)
    with worker.sessions.begin() as session:
        for seq in range(1, 151):
            at = began + timedelta(seconds=span * (seq - 1) / 149)
            session.execute(sa.update(LabelEvent).where(LabelEvent.seq == seq).values(created_at=at))
        session.execute(sa.update(LabelEvent).where(LabelEvent.seq == 151).values(created_at=began))
    found = diagnostics(api)["arrivals"]
    assert 1 <= len(found) <= insights.ARRIVALS_MAX
    assert (sum(entry["labels"] for entry in found), sum(entry["skips"] for entry in found)) == (100, 50)
    times = [datetime.fromisoformat(entry["at"]) for entry in found]
    lengths = {after - before for before, after in itertools.pairwise(times)}
    assert len(lengths) <= 1
    length = next(iter(lengths), timedelta(seconds=2))
    assert times[0] <= began < times[0] + length
    assert times[-1] <= began + timedelta(seconds=span) < times[-1] + length
    if span > 100:
        assert len(found) > 30
