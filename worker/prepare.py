"""Prepare a kernel state: draw the window, compute outputs and Gram panels, factor, activate.

Every finished panel is an artifact with a row of its own: a job that was interrupted goes on from there.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import sqlalchemy as sa
import torch

from ntk.diagnostics import condition
from ntk.kernel import Kernel, tile_plan
from ntk.regression import widened
from store import classes, curve, held_out, insights, jobs, labels, pools, references, states
from store.tables import Checkpoint, Job, Json, KernelPanel, KernelState, Project
from worker import budget, figures, gram, window
from worker.context import Context
from worker.errors import CancelledError, JobError
from worker.held_out import HeldOut
from worker.kernels import PoolItems, described, open_kernel
from worker.progress import Reporter

PANEL_ROWS = 1024
_ROWS_PER_INSERT = 256


@dataclass
class _Plan:
    """What the first transaction read."""

    state_id: int
    checkpoint: Checkpoint
    options: Json
    positions: window.Positions
    labels: dict[int, int]
    chunks: list[pools.Chunk]
    tiles: list[tuple[int, int]]
    finished: dict[int, str]
    repaired: KernelState | None  # in use already: only what it has lost is computed again
    classes: int
    applied_seq: int


def prepare(context: Context, job: Job, reporter: Reporter) -> Json | None:
    """Run the job; the state is active in the same transaction that ends it."""
    plan = _plan(context, job)
    if plan is None:
        return {"kernel": None, "window": 0, "labeled": 0, "reason": "the pool is empty: upload items"}
    budget.admit_prepared(context, _sizes(plan))
    engine = open_kernel(context, plan.checkpoint, plan.options)
    inputs = PoolItems(context, plan.chunks, plan.positions)
    outputs = _outputs(context, engine, inputs, reporter)
    _panels(context, plan, engine, inputs, reporter)
    if plan.repaired is not None:
        _repair(context, job, plan, plan.repaired, outputs)
        return None
    coverage = described(engine, inputs)
    return _activate(context, job, plan, engine, outputs, coverage, reporter)


def _plan(context: Context, job: Job) -> _Plan | None:
    options: Json = job.arguments["kernel"]
    with context.sessions.begin() as session:
        checkpoint = session.get_one(Checkpoint, job.arguments["checkpoint_id"])
        state = session.get(KernelState, job.arguments.get("state_id", 0))
        if state is not None and not context.artifacts.intact(state.window):
            # Without its window nothing of it can be computed again: draw another.
            states.abandon(session, job.id)
            context.artifacts.remove(state.window)
            state = None
        if state is None:
            label_seq, positions = window.draw(session, job.project_id, options["window"], int(options["seed"]))
            if len(positions) == 0:
                return None
            project = session.get_one(Project, job.project_id)
            state = KernelState(
                project_id=job.project_id,
                checkpoint_id=checkpoint.id,
                options=options,
                status="preparing",
                pool_version=project.pool_version,
                base_seq=label_seq,
                applied_seq=label_seq,
                window=references.kept(session, context.artifacts, partial(context.artifacts.put_array, positions)),
            )
            session.add(state)
            session.flush()
            jobs.note(session, job, {"state_id": state.id})
        positions = np.asarray(context.artifacts.array(state.window))
        _, touched = labels.touched(session, job.project_id, 0)
        panels = states.panels(session, state.id)
        in_use = state.status in {"ready", "superseded"}
        plan = _Plan(
            state_id=state.id,
            checkpoint=checkpoint,
            options=options,
            positions=positions,
            labels={item.position: item.label for item in touched if item.label is not None},
            chunks=pools.chunks(session, job.project_id),
            tiles=[(p.row_start, p.row_stop) for p in panels] if in_use else tile_plan(len(positions), PANEL_ROWS),
            finished={panel.row_start: panel.artifact for panel in panels},
            repaired=state if in_use else None,
            # After the labels: one of them may be of a class that was added a moment ago.
            classes=classes.count(session, job.project_id),
            applied_seq=state.applied_seq,
        )
    _forget_lost(context, plan)
    return plan


def _forget_lost(context: Context, plan: _Plan) -> None:
    """Finished panels that are lost or damaged are not finished."""
    for start, artifact in list(plan.finished.items()):
        if not context.artifacts.intact(artifact):
            context.artifacts.remove(artifact)
            del plan.finished[start]


def _sizes(plan: _Plan) -> budget.Sizes:
    items = len(plan.positions)
    labels_inside = sum(int(position) in plan.labels for position in plan.positions)
    return budget.Sizes(
        items=items,
        labels=labels_inside,
        candidates=items - labels_inside,
        classes=plan.classes,
        entry=gram.entry_bytes(plan.options["dtype"], items),
    )


def _outputs(context: Context, engine: Kernel, inputs: PoolItems, reporter: Reporter) -> torch.Tensor:
    plan = tile_plan(len(inputs), PANEL_ROWS)
    reporter.stage("outputs", len(inputs), "items")
    parts = []
    for start, stop in plan:
        parts.append(engine.outputs(inputs[start:stop]))
        reporter.advance(stop - start)
    outputs = torch.cat(parts)
    if not torch.isfinite(outputs).all():
        bad = int((~torch.isfinite(outputs)).any(dim=1).nonzero()[0])
        raise JobError("not_finite_outputs", f"the network's outputs for window item {bad} are not finite numbers")
    return outputs


def _panels(context: Context, plan: _Plan, engine: Kernel, inputs: PoolItems, reporter: Reporter) -> None:
    tiles = plan.tiles
    # Panel k has k + 1 tiles of columns: counting entries makes progress and ETA even.
    reporter.stage("kernel", sum((stop - start) * stop for start, stop in tiles), "kernel entries")
    for start in plan.finished:
        reporter.advance(sum((stop - row) * stop for row, stop in tiles if row == start))
    for start, stop, panel in engine.panels(inputs, tiles, skip=plan.finished, on_tile=reporter.check):
        stored = panel.to(gram.precision(plan.options["dtype"], len(inputs))).cpu().numpy()
        with context.sessions.begin() as session:
            artifact = references.kept(session, context.artifacts, partial(context.artifacts.put_array, stored))
            session.merge(KernelPanel(state_id=plan.state_id, row_start=start, row_stop=stop, artifact=artifact))
        reporter.advance((stop - start) * stop)


def _repair(context: Context, job: Job, plan: _Plan, state: KernelState, outputs: torch.Tensor) -> None:
    """End the repair of a state that is in use: its factor and its labels are in Postgres and stay as they are."""
    saved = state.outputs
    if saved is None or not context.artifacts.intact(saved):
        if saved is not None:
            context.artifacts.remove(saved)
        saved = context.artifacts.put_array(outputs.cpu().numpy())
    with context.sessions.begin() as session:
        session.execute(sa.update(KernelState).where(KernelState.id == state.id).values(outputs=saved))
        result: Json = {
            "checkpoint": plan.checkpoint.name,
            "kernel": states.public_id(state.id),
            "window": len(plan.positions),
            "labeled": state.labeled_count,
            "ridge": state.ridge,
            "repaired": len(plan.tiles) - len(plan.finished),
        }
        if not jobs.finish(session, job, "succeeded", result=result):
            raise CancelledError


def _activate(
    context: Context,
    job: Job,
    plan: _Plan,
    engine: Kernel,
    outputs: torch.Tensor,
    coverage: Json | None,
    reporter: Reporter,
) -> Json | None:
    reporter.stage("factor")
    with context.sessions.begin() as session:
        kernel = gram.assemble(context, states.panels(session, plan.state_id))
    scale = float(kernel.diagonal().double().mean())
    if scale == 0:
        raise JobError(
            "degenerate_kernel",
            "the network's outputs do not change with its weights on any of these items: is it dead or constant?",
        )
    ridge = float(plan.options["ridge"]) * scale
    labeled = [k for k, position in enumerate(plan.positions) if int(position) in plan.labels]
    posterior = gram.posterior(
        context,
        kernel,
        # The kernel model has all classes; the network may have been made for fewer.
        widened(outputs, plan.classes),
        ridge,
        labeled=labeled,
        classes=[plan.labels[int(plan.positions[k])] for k in labeled],
        candidates=[],
    )
    known = set(labeled)
    others = torch.tensor(
        [k for k in range(len(plan.positions)) if k not in known], dtype=torch.long, device=context.device
    )
    predicted = posterior.outputs_of(others).argmax(dim=1)
    changed = gram.share_unequal(predicted, outputs[others].argmax(dim=1))
    accuracy = gram.accuracy(posterior)
    reporter.stage("diagnostics")
    found = figures.spectrum_of(kernel, int(plan.options["seed"]))
    held = HeldOut.read(context, job.project_id, plan.checkpoint, plan.options, engine)
    at = [int(plan.positions[k]) for k in labeled]
    held_out_accuracy = held.accuracy(context, at, posterior.alpha, reporter.check)
    reporter.stage("saving")
    with context.sessions.begin() as session:
        saved = references.kept(session, context.artifacts, partial(context.artifacts.put_array, outputs.cpu().numpy()))
        for start in range(0, len(labeled), _ROWS_PER_INSERT):
            rows = range(start, min(start + _ROWS_PER_INSERT, len(labeled)))
            states.insert_rows(
                session,
                plan.state_id,
                start=start,
                revision=0,
                items=[int(plan.positions[labeled[k]]) for k in rows],
                rows=[posterior.factor.row(k).cpu().numpy() for k in rows],
            )
        session.execute(
            sa.update(KernelState)
            .where(KernelState.id == plan.state_id)
            .values(
                status="ready",
                outputs=saved,
                ridge=ridge,
                jitter=posterior.factor.jitter,
                labeled_count=len(labeled),
                leave_one_out_accuracy=accuracy,
                changed_predictions=changed,
                condition=condition(posterior.factor),
                ready_at=sa.func.now(),
            )
        )
        curve.add(
            session,
            project_id=job.project_id,
            state_id=plan.state_id,
            label_seq=plan.applied_seq,
            labeled_count=len(labeled),
            leave_one_out_accuracy=accuracy,
            changed_predictions=changed,
            flipped=None,
        )
        insights.write(session, plan.state_id, spectrum=found, predicted=figures.by_class(predicted, plan.classes))
        held_out.record(session, plan.state_id, {plan.applied_seq: held_out_accuracy})
        states.activate(session, job.project_id, plan.state_id)
        unused = states.forget(session, job.project_id)
        result: Json = {
            "checkpoint": plan.checkpoint.name,
            "kernel": states.public_id(plan.state_id),
            "window": len(plan.positions),
            "labeled": len(labeled),
            "ridge": ridge,
            "coverage": coverage,
        } | {key: job.arguments[key] for key in ("trained",) if key in job.arguments}
        if not jobs.finish(session, job, "succeeded", result=result):
            raise CancelledError
    for artifact in unused:
        references.drop(context.sessions, context.artifacts, artifact)
    return None
