"""Train: fit a network to the labels so far, store it as a checkpoint, and prepare its kernel state."""

import io
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from store import checkpoints, classes, jobs, labels, pools, references
from store.tables import Checkpoint, Job, Json, Project
from worker.context import Context
from worker.errors import JobError
from worker.kernels import PoolItems
from worker.networks import build
from worker.prepare import prepare
from worker.progress import Reporter
from worker.training.fit import FitResult, fit
from worker.training.options import TrainOptions
from worker.training.standardise import standardisation, standardised, unwrapped
from worker.widening import open_with_classes

# What a warm start takes over with the weights; labels that it saw are known until there are newer ones.
_KEPT = ("standardisation", "trained_on")
# What the network's outputs are like, where that is not the name of the loss.
_LOSS_NAMES = {"fixmatch": "cross_entropy"}


@dataclass
class _Plan:
    """What the first transaction read."""

    classes: int
    input_shape: list[int]
    label_seq: int
    labeled: PoolItems
    labels: list[int]
    unlabeled: PoolItems
    start: Checkpoint | None
    extras: Json = field(default_factory=dict)
    standardisation: bytes | None = None  # made here: kept with the checkpoint
    notes: list[str] = field(default_factory=list)


def train(context: Context, job: Job, reporter: Reporter) -> Json | None:
    """Run the job. One interrupted after training goes on with preparing, if what it trained is still there."""
    if not _trained(context, job):
        plan = _plan(context, job)
        module = _network(context, job, plan, reporter)
        fitted = _fitted(context, job, plan, module, reporter)
        added = _store(context, job, plan, fitted, reporter)
        job.arguments = job.arguments | added
    return prepare(context, job, reporter)


def _trained(context: Context, job: Job) -> bool:
    if "checkpoint_id" not in job.arguments:
        return False
    with context.sessions.begin() as session:
        checkpoint = session.get_one(Checkpoint, job.arguments["checkpoint_id"])
    kept = [checkpoint.weights, checkpoint.extras.get("standardisation")]
    if all(context.artifacts.intact(name) for name in kept if name is not None):
        return True
    job.arguments = {key: value for key, value in job.arguments.items() if key != "state_id"}
    return False


def _plan(context: Context, job: Job) -> _Plan:
    with context.sessions.begin() as session:
        project = session.get_one(Project, job.project_id)
        label_seq, touched = labels.touched(session, job.project_id, 0)
        known = [item for item in touched if item.label is not None]
        chunks = pools.chunks(session, job.project_id)
        free = pools.unlabeled_positions(session, job.project_id)
        start = job.arguments["warm_start"]

        def items(positions: list[int]) -> PoolItems:
            return PoolItems(context, chunks, np.array(positions, dtype=np.int64))

        # After the labels: one of them may be of a class that was added since the job was asked for.
        count = classes.count(session, job.project_id)
        job.arguments = job.arguments | {"options": job.arguments["options"] | {"classes": count}}
        return _Plan(
            classes=count,
            input_shape=project.input_shape or [],
            label_seq=label_seq,
            labeled=items([item.position for item in known]),
            labels=[item.label for item in known if item.label is not None],
            unlabeled=items(free),
            start=None if start is None else session.get_one(Checkpoint, start),
        )


def _network(context: Context, job: Job, plan: _Plan, reporter: Reporter) -> nn.Module:
    """The network to fit: initial weights by the seed, or those of the checkpoint to start from."""
    module = _warm(context, plan)
    if module is not None:
        return module
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(job.arguments["training"]["seed"]))
        module = build(job.arguments["architecture"], job.arguments["options"])
    everything = np.concatenate([plan.labeled.positions, plan.unlabeled.positions])
    if not job.arguments["standardise"] or len(everything) == 0:
        return module
    reporter.stage("standardising inputs")
    try:
        mean, scale = standardisation(PoolItems(context, plan.labeled.chunks, np.sort(everything)))
    except ValueError as error:
        raise JobError("training_impossible", f'{error}; or train with "standardise": false') from error
    tensors = {"mean": mean.float().contiguous(), "scale": scale.float().contiguous()}
    plan.standardisation = save(tensors)
    return standardised(module, tensors["mean"], tensors["scale"])


def _warm(context: Context, plan: _Plan) -> nn.Module | None:
    """The network of the checkpoint to start from, with an output for each class; None where there is none."""
    if plan.start is None:
        return None
    known = int(plan.start.options["classes"])
    try:
        module = open_with_classes(context, plan.start, plan.classes)
    except JobError as error:
        if error.code != "too_few_outputs":
            raise
        plan.notes.append(f"started from initial weights: {error}")
        plan.start = None
        return None
    if known < plan.classes:
        plan.notes.append(
            f"the checkpoint to start from has {known} outputs: those for the {plan.classes - known} classes added "
            "since start from 0, all other weights from the checkpoint's"
        )
    plan.extras = {key: plan.start.extras[key] for key in _KEPT if key in plan.start.extras}
    return module


def _fitted(context: Context, job: Job, plan: _Plan, module: nn.Module, reporter: Reporter) -> FitResult:
    arguments: Json = job.arguments["training"]
    if arguments["epochs"] == 0:
        return FitResult(module.to(context.device).eval(), 0.0, 0, None)
    reporter.stage("training", 1, "steps")
    known = 0

    def on_step(done: int, total: int) -> None:
        nonlocal known
        if total != known:
            known = total
            reporter.stage("training", total, "steps")
        reporter.advance()

    try:
        return fit(
            module,
            plan.labeled,
            torch.tensor(plan.labels, dtype=torch.long),
            TrainOptions(**arguments),
            classes=plan.classes,
            unlabeled=plan.unlabeled if arguments["loss"] == "fixmatch" else None,
            device=context.device,
            on_step=on_step,
        )
    except FloatingPointError as error:
        raise JobError("training_diverged", str(error)) from error
    except ValueError as error:
        raise JobError("training_impossible", str(error)) from error


def _store(context: Context, job: Job, plan: _Plan, fitted: FitResult, reporter: Reporter) -> Json:
    """Keep the checkpoint; returns what the job's arguments gain."""
    reporter.stage("saving")
    module, predictor = unwrapped(fitted.module), fitted.loss_predictor
    loss: str | None = _LOSS_NAMES.get(job.arguments["training"]["loss"], job.arguments["training"]["loss"])
    extras = dict(plan.extras)
    if fitted.steps or plan.start is None:
        extras["trained_on"] = len(plan.labels) if fitted.steps else 0
    else:
        # Nothing was learned: the checkpoint is what it was.
        loss, extras = plan.start.loss, plan.start.extras
    with context.sessions.begin() as session:
        if (made := plan.standardisation) is not None:
            extras["standardisation"] = references.kept(
                session, context.artifacts, lambda: context.artifacts.put_file(io.BytesIO(made))
            )
        weights = references.kept(session, context.artifacts, lambda: _saved(context, module))
        if predictor is not None:
            kept = references.kept(session, context.artifacts, lambda: _saved(context, predictor))
            extras["loss_predictor"] = {"artifact": kept, "input_shape": plan.input_shape}
        checkpoint = checkpoints.stored(
            session,
            job.project_id,
            architecture=job.arguments["architecture"],
            options=job.arguments["options"],
            loss=loss,
            weights=weights,
            kernel=job.arguments["kernel"],
            extras=extras,
        )
        added: Json = {
            "checkpoint_id": checkpoint.id,
            "trained": {
                "labels": len(plan.labels) if fitted.steps else 0,
                "label_seq": plan.label_seq,
                "steps": fitted.steps,
                "loss": fitted.loss,
                "architecture": job.arguments["architecture"],
                "notes": plan.notes,
            },
        }
        jobs.note(session, job, added)
    return added


def _saved(context: Context, module: nn.Module) -> str:
    tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    return context.artifacts.put_file(io.BytesIO(save(tensors)))
