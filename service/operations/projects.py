"""Projects: create, list, describe."""

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api_schemas import projects as wire
from api_schemas.common import KernelOptions
from api_schemas.suggest import SuggestDefaults
from service.caller import Caller
from service.context import Context
from service.idempotency import Once
from service.operations import advice
from service.problems import ConflictError, ForbiddenError, unknown_project
from store import jobs, pools, states
from store.tables import Checkpoint, KernelState, Project


def find(session: Session, name: str, caller: Caller, *, stay: bool = False) -> Project:
    """The project. Raises UnknownError `unknown_project`, also where it is not among the caller's.

    With `stay` it cannot be deleted before this transaction ends: for those that write what belongs to it.
    """
    # Before the database is asked: how long the refusal takes says nothing either.
    if not caller.sees(name):
        raise unknown_project(name)
    query = sa.select(Project).where(Project.name == name)
    if stay:
        query = query.with_for_update(read=True, key_share=True)
    project = session.scalars(query).first()
    if project is None:
        raise unknown_project(name)
    return project


def check(context: Context, name: str) -> None:
    """Raises UnknownError `unknown_project`."""
    with context.sessions.begin() as session:
        find(session, name, context.caller)


def lock(session: Session, name: str, caller: Caller, *, alone: bool = False) -> Project:
    """The project, with its row locked until commit. Raises UnknownError `unknown_project`.

    `alone`: also against rows that come to refer to it, such as new jobs.
    """
    project = pools.lock(session, name, alone=alone) if caller.sees(name) else None
    if project is None:
        raise unknown_project(name)
    return project


def find_filled(session: Session, name: str, caller: Caller) -> Project:
    """The project, which has items and stays. Raises UnknownError `unknown_project`, ConflictError `empty_pool`."""
    project = find(session, name, caller, stay=True)
    if project.item_count == 0:
        raise ConflictError("empty_pool", f"project {name!r} has no items: POST /projects/{name}/pool")
    return project


def active_state(session: Session, project: Project) -> KernelState | None:
    """The kernel state in force, if one is prepared."""
    return None if project.active_state_id is None else session.get(KernelState, project.active_state_id)


def create(context: Context, request: wire.ProjectCreate, once: Once) -> wire.Project:
    """Raises ConflictError `project_exists`, ForbiddenError `project_out_of_scope`."""
    # First: whether a name is taken is nothing to say to a key that does not see it.
    if not context.caller.sees(request.name):
        raise ForbiddenError(
            "project_out_of_scope",
            f"the key is for the projects {', '.join(sorted(context.caller.projects or ()))}, not {request.name!r}",
        )
    try:
        with context.sessions.begin() as session:
            once.begin(session)
            project = Project(
                name=request.name,
                classes=request.classes,
                kernel=request.kernel.model_dump(),
                defaults=request.defaults.model_dump(),
                labeling=request.labeling.model_dump(exclude_none=True),
            )
            session.add(project)
            session.flush()
            answer = describe(session, session.get_one(Project, project.id, populate_existing=True))
            headers = {"Location": f"/projects/{project.name}"}
            return once.keep(session, answer, 201, headers, project_id=project.id)
    except IntegrityError as error:
        raise ConflictError("project_exists", f"there is a project {request.name!r} already") from error


def show(context: Context, name: str) -> wire.Project:
    """Raises UnknownError."""
    with context.sessions.begin() as session:
        return describe(session, find(session, name, context.caller))


def page(context: Context, after: str, limit: int) -> wire.ProjectList:
    """The caller's projects by name, past `after`."""
    there = sa.select(Project).where(Project.name > after, Project.deleted_at.is_(None))
    query = there.order_by(Project.name).limit(limit)
    if context.caller.projects is not None:
        query = query.where(Project.name.in_(context.caller.projects))
    with context.sessions.begin() as session:
        found = session.scalars(query).all()
        described = [describe(session, project) for project in found]
    return wire.ProjectList(projects=described, next=found[-1].name if len(found) == limit else None)


def describe(session: Session, project: Project) -> wire.Project:
    """The project with its counts and the state of its kernel model."""
    counts = pools.counts(session, project.id)
    state = active_state(session, project)
    checkpoint = session.get_one(Checkpoint, state.checkpoint_id) if state is not None else newest(session, project)
    preparing = jobs.open_of_kind(session, project.id, "train") or jobs.open_of_kind(session, project.id, "prepare")
    defaults = SuggestDefaults.model_validate(project.defaults)
    since = advice.labels_since(session, project, counts, checkpoint)
    stopping = advice.stopping(session, project, defaults, state)
    advised = advice.advise(
        advice.Standing(project, defaults, counts, checkpoint, state, preparing is not None, since, stopping)
    )
    unlabeled = counts.items - counts.held_out - counts.labeled - counts.skipped
    return wire.Project(
        name=project.name,
        classes=project.classes,
        kernel=KernelOptions.model_validate(project.kernel),
        defaults=defaults,
        labeling=wire.Labeling.model_validate(project.labeling),
        created_at=project.created_at,
        input_shape=project.input_shape,
        pool_version=project.pool_version,
        items=counts.items,
        labels=counts.labeled,
        skips=counts.skipped,
        unlabeled=unlabeled,
        held_out=counts.held_out,
        open_suggestions=counts.leased,
        label_seq=project.label_seq,
        checkpoint=None if checkpoint is None else checkpoint.name,
        kernel_state=None if state is None or checkpoint is None else _state(session, state, checkpoint),
        preparing=None if preparing is None else preparing.id,
        leave_one_out_accuracy=None if state is None else state.leave_one_out_accuracy,
        held_out_accuracy=None if state is None else state.held_out_accuracy,
        labels_since_checkpoint=since,
        advice=[text for _, text in advised],
        advice_codes=[code for code, _ in advised],
        stopping=stopping,
    )


def newest(session: Session, project: Project) -> Checkpoint | None:
    """The checkpoint that was uploaded last."""
    return session.scalars(
        sa.select(Checkpoint).where(Checkpoint.project_id == project.id).order_by(Checkpoint.id.desc()).limit(1)
    ).first()


def _state(session: Session, state: KernelState, checkpoint: Checkpoint) -> wire.KernelStateInfo:
    panels = states.panels(session, state.id)
    return wire.KernelStateInfo(
        id=states.public_id(state.id),
        status=state.status,
        window=panels[-1].row_stop if panels else 0,
        outputs=int(checkpoint.options["classes"]),
        labeled=state.labeled_count,
        applied_seq=state.applied_seq,
        ridge=state.ridge,
        jitter=state.jitter,
        condition=state.condition,
        changed_predictions=state.changed_predictions,
    )
