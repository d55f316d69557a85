"""What becomes of lost artifacts: computed again where that is possible, named where it is not.

Panels, outputs and windows follow from the pool, the labels and a checkpoint. Inputs and weights came from outside.
"""

import logging

import sqlalchemy as sa
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from store import jobs, pools, states
from store.errors import ArtifactError, ArtifactMissingError
from store.tables import Checkpoint, Job, KernelState, PoolChunk, Project
from worker import queue
from worker.context import Context
from worker.errors import JobError

log = logging.getLogger(__name__)


def told(context: Context, project_id: int, error: ArtifactError) -> JobError:
    """How a job's record tells of a lost artifact: what to send again, if it was sent."""
    with context.sessions.begin() as session:
        source = _source(session, project_id, error.artifact)
    if source is None:
        return JobError("storage_failure", str(error))
    what, remedy = source
    state = "missing from" if isinstance(error, ArtifactMissingError) else "damaged in"
    return JobError("artifact_lost", f"{what} are {state} the artifact storage: {remedy}")


def begun(context: Context, state_id: int, error: ArtifactError) -> JobError:
    """Start to repair a kernel state that could not be loaded; returns what its request fails with.

    `not_prepared` names the job that repairs it; where inputs or weights are gone, nothing can be computed and
    `artifact_lost` says what to send again.
    """
    with context.sessions.begin() as session:
        state = session.get_one(KernelState, state_id)
        if error.artifact not in _parts(session, state):
            sources = [error.artifact]
        else:
            sources = [name for name in _sources(session, state) if not context.artifacts.exists(name)]
            error = ArtifactMissingError(f"artifact {sources[0]} is gone", sources[0]) if sources else error
    if sources:
        return told(context, state.project_id, error)
    job = _repairing(context, state)
    return JobError(
        "not_prepared",
        f"part of the kernel state was lost and is computed again by {job.id}: wait for it, or ask for the strategy "
        "'random'",
        job=job.id,
    )


def _repairing(context: Context, state: KernelState) -> Job:
    """The job that repairs the state, or will replace it: an open one, or a new one."""
    with context.sessions.begin() as session:
        # Two requests that meet the same loss start one job.
        session.get_one(Project, state.project_id, with_for_update={"key_share": True})
        if job := jobs.open_of_kind(session, state.project_id, "prepare"):
            return job
        job = jobs.create(
            session,
            kind="prepare",
            project_id=state.project_id,
            queue=queue.BULK,
            arguments={"checkpoint_id": state.checkpoint_id, "kernel": state.options, "state_id": state.id},
        )
    log.warning("kernel state %d has lost a part: job %s computes it again", state.id, job.id)
    try:
        queue.enqueue(context.redis, queue.BULK, job.id)
    except RedisError as error:
        log.warning("job %s will be enqueued by maintenance: %s", job.id, error)
    return job


def _parts(session: Session, state: KernelState) -> set[str]:
    """The state's own artifacts, which can be computed again."""
    panels = {panel.artifact for panel in states.panels(session, state.id)}
    return panels | {state.window} | ({state.outputs} if state.outputs else set())


def _sources(session: Session, state: KernelState) -> list[str]:
    """The artifacts that a state is computed from."""
    checkpoint = session.get_one(Checkpoint, state.checkpoint_id)
    kept = checkpoint.extras.get("standardisation")
    return [
        checkpoint.weights,
        *([kept] if kept else []),
        *(c.artifact for c in pools.chunks(session, state.project_id)),
    ]


def _source(session: Session, project_id: int, artifact: str) -> tuple[str, str] | None:
    """(what an artifact holds, how to bring it back) of an upload or a checkpoint; None for anything else."""
    project = session.get_one(Project, project_id).name
    chunk = session.scalars(
        sa.select(PoolChunk).where(PoolChunk.project_id == project_id, PoolChunk.artifact == artifact)
    ).first()
    if chunk is not None:
        last = chunk.start + chunk.count - 1
        names = pools.external_ids(session, project_id, [chunk.start, last])
        return (
            f"the inputs of the {chunk.count} items from {names[chunk.start]!r} to {names[last]!r}, which came with "
            f"upload {chunk.version} of the pool,",
            f"send the same file again with POST /projects/{project}/pool",
        )
    for checkpoint in session.scalars(sa.select(Checkpoint).where(Checkpoint.project_id == project_id)):
        if artifact == checkpoint.weights and "trained_on" not in checkpoint.extras:
            return (
                f"the weights of checkpoint {checkpoint.name}",
                f"send the same file again with POST /projects/{project}/checkpoints",
            )
        predictor = checkpoint.extras.get("loss_predictor") or {}
        if artifact in {checkpoint.weights, checkpoint.extras.get("standardisation"), predictor.get("artifact")}:
            return (
                f"weights of checkpoint {checkpoint.name}, which was trained here,",
                f"train again with POST /projects/{project}/train",
            )
    return None
