"""The job of a connection: read what is new in Label Studio, then put its tasks into our order."""

import logging

import sqlalchemy as sa

from store import label_studio as connections
from store.tables import Job, Json, LabelStudioConnection
from store.vault import VaultError
from studio.api import LabelStudio
from studio.errors import AddressRefusedError, ConfigError, LabelStudioError, RefusedError
from worker.context import Context
from worker.errors import JobError
from worker.label_studio.ordering import order
from worker.label_studio.reading import read
from worker.progress import Reporter

log = logging.getLogger(__name__)

# After a failure the next order waits for so long.
PAUSE_SECONDS = 60


def label_studio(context: Context, job: Job, reporter: Reporter) -> Json:
    """Run the job; safe to run again from the start. Raises JobError, with what Label Studio said."""
    connection = _connection(context, job)
    if connection is None:
        return {"reason": "disconnected"}
    try:
        with _studio(context, connection) as studio:
            result: Json = {}
            if job.arguments["sync"]:
                result |= read(context, studio, connection.id, reporter, everything=job.arguments["everything"])
            if job.arguments["order"]:
                result |= order(context, studio, connection.id, job, reporter)
    except LabelStudioError as error:
        _note(context, connection.id, str(error))
        raise JobError(_code(error), str(error)) from error
    except JobError as error:
        _note(context, connection.id, str(error))
        raise
    _note(context, connection.id, result.get("problem"))
    return result


def _connection(context: Context, job: Job) -> LabelStudioConnection | None:
    with context.sessions.begin() as session:
        return connections.get(session, job.arguments["connection"])


def _studio(context: Context, connection: LabelStudioConnection) -> LabelStudio:
    allowed = connection.private_allowed if context.private_addresses == "auto" else context.private_addresses == "on"
    try:
        token = context.vault.unseal(connection.api_token)
    except VaultError as error:
        raise JobError("secret_lost", str(error)) from error
    return LabelStudio(connection.url, token, connection.label_studio_project, private_allowed=allowed)


def _code(error: LabelStudioError) -> str:
    if isinstance(error, AddressRefusedError):
        return "address_refused"
    if isinstance(error, ConfigError):
        return "no_control"
    return "label_studio_refused" if isinstance(error, RefusedError) else "label_studio_unreachable"


def _note(context: Context, connection_id: int, problem: str | None) -> None:
    """Say for people how it went; after a failure, the order is not tried again at once."""
    values: Json = {"problem": problem}
    if problem is not None:
        now = sa.func.statement_timestamp()
        values["order_not_before"] = now + sa.cast(f"{PAUSE_SECONDS} seconds", sa.Interval)
    with context.sessions.begin() as session:
        session.execute(
            sa.update(LabelStudioConnection).where(LabelStudioConnection.id == connection_id).values(**values)
        )
