"""Predictions after every label so far: the linearized model's outputs, or the checkpoint's own."""

import torch

from store import jobs, pools, states
from store.tables import Job, Json, Project
from worker.catch_up import retried, synchronised
from worker.context import Context
from worker.errors import CancelledError
from worker.gram import to_list
from worker.live import Live
from worker.progress import Reporter


def predict(context: Context, job: Job, reporter: Reporter) -> Json | None:
    """Outputs (q, C) of the items at `arguments.items`, in that order."""
    return retried(context, lambda: _attempt(context, job, reporter))


def _attempt(context: Context, job: Job, reporter: Reporter) -> None:
    wanted: list[int] = job.arguments["items"]
    source: str = job.arguments["source"]
    with synchronised(context, job.project_id, reporter) as live:
        # An item asked for twice is computed once, so that it gets one answer.
        distinct = list(dict.fromkeys(wanted))
        row = {position: k for k, position in enumerate(distinct)}
        outputs = _outputs(context, live, distinct, source)[[row[position] for position in wanted]]
        with context.sessions.begin() as session:
            # The network's own predictions are of the classes that it knows.
            best = outputs[:, : live.known] if source == "network" else outputs
            names = pools.external_ids(session, job.project_id, wanted)
            classes = session.get_one(Project, job.project_id).classes
            result: Json = {
                "label_seq": live.applied_seq,
                "source": source,
                "checkpoint": live.checkpoint.name,
                "kernel": states.public_id(live.state_id),
                "predictions": [
                    {"item": names[position], "outputs": row, "predicted": classes[top]}
                    for position, row, top in zip(wanted, to_list(outputs), to_list(best.argmax(dim=1)), strict=True)
                ],
            }
            if not jobs.finish(session, job, "succeeded", result=result):
                raise CancelledError


def _outputs(context: Context, live: Live, wanted: list[int], source: str) -> torch.Tensor:
    inside = [k for k, position in enumerate(wanted) if position in live.index]
    outside = [k for k, position in enumerate(wanted) if position not in live.index]
    classes = live.outputs.shape[1]
    result = torch.empty((len(wanted), classes), dtype=torch.float64, device=live.outputs.device)
    if inside:
        indices = torch.tensor([live.index[wanted[k]] for k in inside], device=live.outputs.device)
        result[inside] = live.outputs[indices] if source == "network" else live.posterior.outputs_of(indices)
    if outside:
        result[outside] = _outside(context, live, [wanted[k] for k in outside], source)
    return result


def _outside(context: Context, live: Live, positions: list[int], source: str) -> torch.Tensor:
    """Outputs of items that the window does not hold: their kernel with the labeled items is computed."""
    inputs = live.inputs_of(context, positions)
    network = live.network_outputs(inputs)
    if source == "network" or live.posterior.n == 0:
        return network
    labeled = [live.positions[index] for index in to_list(live.posterior.labeled)]
    cross = live.engine.cross(inputs, live.inputs_of(context, labeled))
    return live.posterior.outputs_outside(cross, network)
