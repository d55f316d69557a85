"""Connections to Label Studio: made, listed, set to work, ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from api_schemas import jobs as job_wire
from api_schemas import label_studio as wire
from api_schemas.common import Json
from api_schemas.strategies import OPTIONS, checked_options
from api_schemas.suggest import SuggestDefaults
from service.caller import Caller
from service.context import Context
from service.label_studio.backends import SCHEME, new_token
from service.operations import jobs as job_operations
from service.operations import projects
from service.operations.pool import enqueue_later
from service.problems import ConflictError, InvalidError, UnknownError
from store import jobs, label_studio
from store.auto import NOISE
from store.tables import LabelStudioConnection, Project
from store.vault import VaultError
from studio import config, errors
from studio.api import LabelStudio
from studio.config import Control
from studio.payloads import Project as Theirs
from studio.predictions import SEQUENTIAL, UNCERTAINTY, VERSION_PREFIX
from worker import queue

_NAMED = 5


def create(context: Context, request: wire.ConnectionCreate) -> wire.NewConnection:
    """Connect one of our projects; Label Studio is asked for its configuration first.

    Raises UnknownError, ConflictError `already_connected`, InvalidError `address_refused`, `no_control`,
    `unknown_choices`, `label_studio_refused` or
    `label_studio_unreachable`.
    """
    url, private = request.url.rstrip("/"), private_allowed(context)
    with context.sessions.begin() as session:
        projects.find(session, request.project, context.caller)
    token = request.token.get_secret_value()
    with (
        asking(),
        LabelStudio(url, token, request.label_studio_project, private_allowed=private, patient=False) as studio,
    ):
        theirs = studio.project()
        control = config.control_of(theirs.label_config or "", request.control)
        users = studio.users()
    secret, prefix, digest = new_token()
    with context.sessions.begin() as session:
        project = projects.lock(session, request.project, context.caller)
        _check_alone(session, url, request.label_studio_project, context.caller)
        _check_choices(project, control)
        connection = LabelStudioConnection(
            prefix=prefix,
            digest=digest,
            project_id=project.id,
            url=url,
            api_token=context.vault.seal(token),
            label_studio_project=request.label_studio_project,
            from_name=control.from_name,
            to_name=control.to_name,
            data_key=control.data_key,
            kind=control.kind,
            choices=list(control.choices),
            add_tasks=request.add_tasks,
            private_allowed=private,
            strategies=_strategies(project),
            own_skips=_own_skips(theirs),
            users={str(number): mail for number, mail in users.items()},
        )
        session.add(connection)
        session.flush()
        session.refresh(connection)
        described = describe(session, connection, project.name)
    return wire.NewConnection(backend=f"/label-studio/{secret}", **described.model_dump())


def private_allowed(context: Context) -> bool:
    """Whether an address that is given to us may be a private one."""
    setting = context.settings.lookahead_private_addresses
    return setting == "on" or (setting == "auto" and context.settings.lookahead_auth == "off")


@contextmanager
def asking() -> Iterator[None]:
    """What goes wrong with a Label Studio server, as our problems."""
    try:
        yield
    except errors.AddressRefusedError as error:
        raise InvalidError("address_refused", str(error)) from error
    except errors.ConfigError as error:
        raise InvalidError("no_control", str(error)) from error
    except errors.RefusedError as error:
        raise InvalidError("label_studio_refused", f"{error}: are the token and the project right?") from error
    except errors.LabelStudioError as error:
        raise InvalidError(
            "label_studio_unreachable", f"{error}: is the address right, seen from the service?"
        ) from error


def _check_alone(session: Session, url: str, label_studio_project: int, caller: Caller) -> None:
    """A project of Label Studio has one order: two connections would undo each other's."""
    before = label_studio.connected(session, url, label_studio_project)
    if before is None:
        return
    connection, name = before
    by = f", by connection {connection.prefix}, and labels {name!r}" if caller.sees(name) else ""
    raise ConflictError(
        "already_connected",
        f"project {label_studio_project} of {urlsplit(url).netloc} is connected already{by}: a project of Label "
        "Studio has one order, so it has one connection",
    )


def _check_choices(project: Project, control: Control) -> None:
    if missing := [choice for choice in control.choices if choice not in project.classes]:
        named = ", ".join(repr(choice) for choice in missing[:_NAMED])
        raise InvalidError(
            "unknown_choices",
            f"project {project.name!r} has no class {named}: POST /projects/{project.name}/classes adds what Label "
            "Studio has as choices",
        )


def _strategies(project: Project) -> Json:
    """The project's strategy and, complete, the options of all that it may come to: workers do not check options."""
    defaults = SuggestDefaults.model_validate(project.defaults)
    names = ["typiclust", "eer", "mlmoc"] if defaults.strategy == "auto" else [defaults.strategy]
    found = {}
    for name in names:
        fields = OPTIONS[name].model_fields
        options = {key: value for key, value in defaults.options.items() if key in fields} | {"why": 0}
        if "noise" in fields and defaults.strategy == "auto" and name == "mlmoc":
            options = {"noise": NOISE} | options
        found[name] = checked_options(name, options | ({"batch": "top_k"} if "batch" in fields else {}))
    return {"strategy": defaults.strategy, "options": found}


def _own_skips(theirs: Theirs) -> bool:
    return theirs.skip_queue != "IGNORE_SKIPPED"


def page(context: Context) -> wire.ConnectionList:
    """The connections of projects that the caller sees."""
    with context.sessions.begin() as session:
        found = label_studio.page(session, context.caller.projects)
        return wire.ConnectionList(connections=[describe(session, each, name) for each, name in found])


def sync(context: Context, prefix: str, request: wire.ConnectionSync) -> job_wire.Job:
    """The job that reads what is new and makes the order. Raises UnknownError, ConflictError `already_running`."""
    with context.sessions.begin() as session:
        connection, project = _find(session, prefix, context.caller, lock=True)
        if (running := label_studio.open_job(session, connection.id)) is not None:
            raise ConflictError(
                "already_running",
                f"{running.id} is at work for this connection: wait for it",
                job=running.id,
                headers={"Retry-After": "1"},
            )
        job = jobs.create(
            session,
            kind=label_studio.KIND,
            project_id=connection.project_id,
            queue=queue.BULK,
            arguments={
                "connection": connection.id,
                "sync": True,
                "everything": request.everything,
                "order": request.order,
            },
            origin=context.origin,
        )
        answer = job_operations.describe(session, job, project)
    enqueue_later(context, job)
    return answer


def end(context: Context, prefix: str) -> wire.EndedConnection:
    """Forget a connection and take away what was set up in Label Studio for it; labels stay. Raises UnknownError."""
    with context.sessions.begin() as session:
        connection, project = _find(session, prefix, context.caller, lock=True)
        described = describe(session, connection, project)
        label_studio.remove(session, connection)
    left = None
    try:
        with _studio(context, connection) as studio:
            _take_away(studio, connection.prefix)
    except (errors.LabelStudioError, VaultError) as error:
        left = f"the backend, the webhook and our predictions may still be there: {error}"
    return wire.EndedConnection(left=left, **described.model_dump())


def _studio(context: Context, connection: LabelStudioConnection) -> LabelStudio:
    # As workers judge it: what was allowed once is not when the setting says so.
    setting = context.settings.lookahead_private_addresses
    return LabelStudio(
        connection.url,
        context.vault.unseal(connection.api_token),
        connection.label_studio_project,
        private_allowed=connection.private_allowed if setting == "auto" else setting == "on",
        patient=False,
    )


def _take_away(studio: LabelStudio, prefix: str) -> None:
    """The backend and the webhook of this connection, the predictions, and the sampling that goes by them."""
    ours = f"/label-studio/{SCHEME}_{prefix}_"
    for backend in studio.backends():
        if ours in str(backend.get("url")) and isinstance(backend.get("id"), int):
            studio.delete_backend(backend["id"])
    for webhook in studio.webhooks():
        if ours in str(webhook.get("url")) and isinstance(webhook.get("id"), int):
            studio.delete_webhook(webhook["id"])
    for version in studio.model_versions():
        if version.startswith(VERSION_PREFIX):
            studio.delete_predictions(version)
    if studio.project().sampling == UNCERTAINTY:
        studio.change_project(sampling=SEQUENTIAL)


def _find(session: Session, prefix: str, caller: Caller, *, lock: bool = False) -> tuple[LabelStudioConnection, str]:
    """(the connection, its project's name). Those of projects that the caller does not see are as good as none."""
    connection = label_studio.by_prefix(session, prefix)
    name = None if connection is None else session.get_one(Project, connection.project_id).name
    found = connection if name is not None and caller.sees(name) else None
    if found is not None and lock:
        # Somebody else may end it while we wait for its lock.
        found = label_studio.get(session, found.id, lock=True)
    if found is None or name is None:
        raise UnknownError("unknown_connection", f"there is no connection {prefix!r}; GET /label-studio lists them")
    return found, name


def describe(session: Session, connection: LabelStudioConnection, project: str) -> wire.Connection:
    """The connection as the wire has it, without its secrets."""
    tasks, items, annotations = label_studio.counts(session, connection.id)
    return wire.Connection.model_validate(
        {
            "id": connection.prefix,
            "project": project,
            "url": connection.url,
            "label_studio_project": connection.label_studio_project,
            "control": connection.from_name,
            "data_key": connection.data_key,
            "kind": connection.kind,
            "add_tasks": connection.add_tasks,
            "tasks": tasks,
            "items": items,
            "annotations": annotations,
            "model_version": connection.model_version,
            "order_seq": connection.order_seq,
            "synced_at": connection.synced_at,
            "problem": connection.problem,
            "created_at": connection.created_at,
        }
    )
