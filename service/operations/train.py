"""Training jobs: settle what was left out, check that it fits, enqueue."""

from sqlalchemy.orm import Session

from api_schemas import jobs as wire
from api_schemas.checkpoints import Manifest
from api_schemas.common import Json
from api_schemas.train import TrainRequest
from service.context import Context
from service.idempotency import Once
from service.operations import checkpoints, projects
from service.operations import jobs as job_operations
from service.operations.pool import enqueue_later
from service.problems import ConflictError, InvalidError
from store import jobs, labels
from store.architectures import Architecture, Cnn, LayoutError
from store.tables import Checkpoint, Project
from worker import queue


def start(context: Context, name: str, request: TrainRequest, once: Once) -> wire.Job:
    """Raises UnknownError, ConflictError, InvalidError."""
    with context.sessions.begin() as session:
        once.begin(session)
        project = projects.find_filled(session, name, context.caller)
        running = jobs.open_of_kind(session, project.id, "train")
        if running is not None:
            raise ConflictError(
                "training_already", f"{running.id} is training: wait for it or cancel it", job=running.id
            )
        if request.loss == "fixmatch" and labels.counted(session, project.id)[0] == 0:
            raise ConflictError("no_labels", "fixmatch spreads labels to unlabeled items, and there is no label yet")
        active = _active(session, project)
        architecture, network = _network(project, request, active)
        job = jobs.create(
            session,
            kind="train",
            project_id=project.id,
            queue=queue.BULK,
            arguments={
                "architecture": architecture,
                "options": network.model_dump(),
                "warm_start": _start_of(request, active, architecture, network),
                "kernel": project.kernel if request.kernel is None else request.kernel.model_dump(),
                "standardise": request.standardise,
                "training": _training(request),
            },
            origin=context.origin,
        )
        answer = job_operations.describe(session, job, project.name)
        once.keep(session, answer, 202, job_operations.links(job.id), project_id=project.id)
    enqueue_later(context, job)
    return answer


def _active(session: Session, project: Project) -> Checkpoint | None:
    state = projects.active_state(session, project)
    return None if state is None else session.get_one(Checkpoint, state.checkpoint_id)


def _network(project: Project, request: TrainRequest, active: Checkpoint | None) -> tuple[str, Architecture]:
    """(architecture's name, its complete options). Raises InvalidError."""
    name, options = request.architecture, request.options
    if name is None and active is not None:
        # Classes may have been added since the active checkpoint was made: it is fitted to those there are.
        name, options = active.architecture, _without_classes(active.options) | request.options
    if name is None:
        name = _suitable(project)
    return name, checkpoints.fitted(project, Manifest(architecture=name, options=options))


def _suitable(project: Project) -> str:
    shape = tuple(project.input_shape or ())
    if len(shape) == 1:
        return "embedding:mlp"
    try:
        fits = len(shape) == 3 and Cnn().fitted(shape, len(project.classes)).accepts(shape)
    except LayoutError:
        fits = False
    return "cnn" if fits else "mlp"


def _start_of(request: TrainRequest, active: Checkpoint | None, architecture: str, network: Architecture) -> int | None:
    """The checkpoint to begin with. Raises ConflictError, InvalidError."""
    if not request.warm_start:
        return None
    if active is None:
        raise ConflictError("not_prepared", "warm_start begins with the active checkpoint, and there is none yet")
    same = _without_classes(active.options) == _without_classes(network.model_dump())
    if active.architecture != architecture or not same:
        raise InvalidError(
            "wrong_layout",
            f"warm_start begins with the active checkpoint, which is {active.architecture} with {active.options}: "
            "leave architecture and options out",
        )
    return active.id


def _without_classes(options: Json) -> Json:
    return {key: value for key, value in options.items() if key != "classes"}


def _training(request: TrainRequest) -> Json:
    own = request.model_dump(
        include={"epochs", "loss", "seed", "learning_rate", "batch_size", "weight_decay", "loss_prediction"}
    )
    return own | request.fixmatch.model_dump()
