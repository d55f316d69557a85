"""The kernel model against a refit from the log: from first principles, in float64."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy.orm import Session

from benchmarks.soak.log_checks import Folded
from benchmarks.soak.project import CLASSES, NAME, Pool
from client.sdk import Client
from store import pools, states
from store.artifacts import Artifacts
from store.tables import KernelState, Project
from tests import oracles

OUTPUTS_TOLERANCE = 1e-6
FACTOR_TOLERANCE = 1e-9  # relative to the largest entry of the factored matrix
KERNEL_TOLERANCE = 1e-9
_ITEMS_PER_REQUEST = 100


@dataclass(frozen=True)
class Stored:
    """The active kernel state as it lies in the database and in the artifacts."""

    state: KernelState
    window: list[str]  # N0 items of the window as it was drawn
    labeled: list[str]  # n items in factor order
    panels: list[tuple[int, int, npt.NDArray[np.float64]]]
    outputs: npt.NDArray[np.float64]  # (N0, C)
    factor: torch.Tensor  # (n, n)


def stored(session: Session, artifacts: Artifacts, project_id: int) -> Stored:
    """Read in one transaction."""
    project = session.get_one(Project, project_id)
    state = session.get_one(KernelState, project.active_state_id)
    assert state.outputs is not None
    positions = [int(position) for position in artifacts.array(state.window)]
    rows = states.factor_rows(session, state.id, start=0, stop=state.labeled_count)
    names = pools.external_ids(session, project_id, positions + [row.item_position for row in rows])
    factor = torch.zeros((len(rows), len(rows)), dtype=torch.float64)
    for place, row in enumerate(rows):
        factor[place, : len(row.row)] = torch.from_numpy(row.row.copy())
    return Stored(
        state=state,
        window=[names[position] for position in positions],
        labeled=[names[row.item_position] for row in rows],
        panels=[
            (panel.row_start, panel.row_stop, np.asarray(artifacts.array(panel.artifact)))
            for panel in states.panels(session, state.id)
        ],
        outputs=np.asarray(artifacts.array(state.outputs)),
        factor=factor,
    )


@dataclass(frozen=True)
class ModelReport:
    """What is wrong, and how far the numbers are apart."""

    wrong: list[str]
    figures: dict[str, float]


def check_model(client: Client, session: Session, artifacts: Artifacts, pool: Pool, standing: Folded) -> ModelReport:
    """Predictions of all window items, the kernel and the factor, compared with what the log and the pool give."""
    project_id = session.query(Project.id).filter(Project.name == NAME).scalar()
    at = session.get_one(Project, project_id).label_seq
    first = _predicted(client, stored(session, artifacts, project_id).window)
    session.rollback()  # those requests have brought the state up to date: read it anew
    session.expire_all()
    found = stored(session, artifacts, project_id)
    wrong = [f"the predictions are as of label {seq}, the log ends at {at}" for seq in {s for s, _ in first} - {at}]
    if found.state.applied_seq != at:
        wrong.append(f"the kernel state has applied {found.state.applied_seq} of {at} labels")
    labels = {item: CLASSES.index(label) for item, (_, label, _) in standing.items() if label is not None}
    if set(found.labeled) != set(labels) or len(found.labeled) != len(labels):
        odd = sorted(set(found.labeled) ^ set(labels))
        wrong.append(f"{len(found.labeled)} items are in the factor, {len(labels)} carry a label; not in both: {odd}")
        return ModelReport(wrong, {})
    every = [*found.window, *(item for item in found.labeled if item not in set(found.window))]
    inputs = pool.inputs()
    x = torch.from_numpy(np.stack([inputs[item] for item in every]))
    kernel = oracles.gram(pool.module, x)
    with torch.no_grad():
        outputs = pool.module(x)
    ridge = (found.state.ridge or 0.0) + found.state.jitter
    index = {item: k for k, item in enumerate(every)}
    rows = [index[item] for item in found.labeled]
    refit = oracles.refit(kernel, outputs, ridge, rows, [labels[item] for item in found.labeled])
    predicted = torch.tensor([outputs for _, outputs in first], dtype=torch.float64)
    matrix = kernel[rows][:, rows] + ridge * torch.eye(len(rows), dtype=torch.float64)
    figures = {
        "window": float(len(found.window)),
        "labeled": float(len(rows)),
        "labeled outside the window": float(len(every) - len(found.window)),
        "kernel, largest difference": _kernel_difference(found, kernel),
        "network outputs, largest difference": _largest(
            torch.from_numpy(found.outputs.copy()), outputs[: len(found.window)]
        ),
        "factor, largest difference": _largest(found.factor @ found.factor.mT, matrix),
        "predictions, largest difference": _largest(predicted, refit[: len(found.window)]),
    }
    scale = float(kernel.abs().max())
    wrong += [
        f"{name} {figures[name]:.3g}, allowed {allowed:.3g}"
        for name, allowed in (
            ("kernel, largest difference", KERNEL_TOLERANCE * scale),
            ("network outputs, largest difference", KERNEL_TOLERANCE * float(outputs.abs().max())),
            ("factor, largest difference", FACTOR_TOLERANCE * scale),
            ("predictions, largest difference", OUTPUTS_TOLERANCE),
        )
        if not figures[name] <= allowed
    ]
    return ModelReport(wrong, figures)


def _predicted(client: Client, items: list[str]) -> list[tuple[int, list[float]]]:
    """(label_seq, outputs) of each item, over HTTP."""
    found = []
    for start in range(0, len(items), _ITEMS_PER_REQUEST):
        part = items[start : start + _ITEMS_PER_REQUEST]
        answer = client.predictions(NAME, part, wait=30)
        found += [(answer.label_seq, prediction.outputs) for prediction in answer.predictions]
    return found


def _kernel_difference(found: Stored, kernel: torch.Tensor) -> float:
    return max(_largest(torch.from_numpy(part.copy()), kernel[start:stop, :stop]) for start, stop, part in found.panels)


def _largest(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max()) if one.numel() else 0.0
