"""Checkpoints: check an upload against its architecture, the classes and the pool; prepare it."""

from typing import BinaryIO

from api_schemas import jobs as wire
from api_schemas.checkpoints import Manifest
from service.context import Context
from service.idempotency import Once
from service.operations import jobs as job_operations
from service.operations import projects
from service.operations.pool import enqueue_later, kept, referred_to
from service.problems import InvalidError
from service.uploads.weights import check_weights
from store import checkpoints, jobs
from store.architectures import Architecture, LayoutError, architecture
from store.tables import Project
from worker import queue


def add(context: Context, name: str, weights: BinaryIO, size: int, manifest: Manifest, once: Once) -> wire.Job:
    """Store the checkpoint and start preparing it. Raises InvalidError, UnknownError."""
    with context.sessions.begin() as session:
        network = fitted(projects.find(session, name, context.caller), manifest)
    check_weights(weights, size, network)
    weights.seek(0)
    with kept(context, weights) as artifact, context.sessions.begin() as session:
        once.begin(session)
        referred_to(context, session, artifact, weights)
        project = projects.lock(session, name, context.caller)
        network = fitted(project, manifest)
        kernel = manifest.kernel.model_dump() if manifest.kernel is not None else project.kernel
        checkpoint = checkpoints.stored(
            session,
            project.id,
            architecture=manifest.architecture,
            options=network.model_dump(),
            loss=manifest.loss,
            weights=artifact,
            kernel=kernel,
        )
        if not context.artifacts.intact(checkpoint.weights):
            # What was made of the weights at an earlier upload is lost: make it again from these.
            checkpoint.weights = artifact
        job = jobs.create(
            session,
            kind="prepare",
            project_id=project.id,
            queue=queue.BULK,
            arguments={"checkpoint_id": checkpoint.id, "kernel": kernel},
            origin=context.origin,
        )
        answer = job_operations.describe(session, job, project.name)
        once.keep(session, answer, 202, job_operations.links(job.id), project_id=project.id)
    enqueue_later(context, job)
    return answer


def fitted(project: Project, manifest: Manifest) -> Architecture:
    """The architecture with its options complete, fitting the classes and the pool. Raises InvalidError."""
    shape = None if project.input_shape is None else tuple(project.input_shape)
    try:
        asked = architecture(manifest.architecture, manifest.options)
    except LayoutError as error:
        raise InvalidError("invalid_manifest", str(error)) from error
    if asked.classes is not None and asked.classes != len(project.classes):
        raise InvalidError(
            "wrong_classes",
            f"the checkpoint has {asked.classes} classes and project {project.name!r} has {len(project.classes)}",
        )
    try:
        network = asked.fitted(shape, len(project.classes))
    except LayoutError as error:
        raise InvalidError("invalid_manifest", str(error)) from error
    if shape is not None and not network.accepts(shape):
        raise InvalidError(
            "wrong_shape",
            f"the network takes {network.expects()}, and the pool has items of shape {list(shape)}",
        )
    return network
