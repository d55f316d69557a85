"""Everything that belongs to connecting a project of Label Studio, in one call that may be repeated."""

import importlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from api_schemas import jobs as job_wire
from api_schemas import label_studio as wire
from client.errors import ApiError, LookaheadError
from client.sdk import Client
from studio.api import LabelStudio
from studio.config import Control, control_of
from studio.errors import LabelStudioError, RefusedError
from studio.items import PICTURE_BYTES_MAX, item_of
from studio.payloads import Task
from studio.predictions import UNCERTAINTY

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TITLE = "Lookahead"
PRIVATE_HINT = (
    "Label Studio asks no private addresses unless it was started with ML_BLOCK_LOCAL_IP=false and "
    "SSRF_PROTECTION_ENABLED=false in its environment: set both, start it again, and run this command again"
)
EMBEDDED_AT_ONCE = 256
_BUSY_SECONDS = 600.0
Embed = Callable[[Sequence[Any]], "npt.NDArray[np.generic]"]
Follow = Callable[[Client, job_wire.Job], job_wire.Job]


class ConnectError(LookaheadError):
    """A project could not be connected; the text says what was wrong and what would be right."""


@dataclass(frozen=True)
class Wanted:
    """What to connect, and how."""

    project: str
    url: str
    token: str
    label_studio_project: int
    control: str | None = None
    service_url: str | None = None  # where Label Studio reaches the service, if that is elsewhere for it than for us
    embed: Embed | None = None  # texts, or pictures as bytes, to one row each
    train: bool = True


@dataclass
class Connected:
    """What was done, in the order it was done."""

    connection: wire.Connection
    steps: list[str] = field(default_factory=list)


def connect(client: Client, wanted: Wanted, follow: Follow, say: Callable[[str], None]) -> Connected:
    """Connect; what is there already is left as it is. Raises ConnectError, and what the client raises.

    `follow` waits for a job, `say` is told each step.
    """
    steps: list[str] = []

    def done(text: str) -> None:
        steps.append(text)
        say(text)

    _known(client, wanted)  # the service would refuse it too, but only once there is a project that nobody wants
    try:
        with LabelStudio(wanted.url, wanted.token, wanted.label_studio_project) as studio:
            control = control_of(studio.project().label_config or "", wanted.control)
            _project(client, wanted.project, control, done)
            if wanted.embed is not None:
                _upload(client, studio, wanted, control, done)
            connection = _connection(client, studio, wanted, control, done)
            read = _synchronised(client, follow, connection.id, order=False)
            done(_worded(read.result or {}))
            _train(client, wanted, follow, done)
            studio.change_project(sampling=UNCERTAINTY)
            made = _synchronised(client, follow, connection.id, order=True, everything=False).result or {}
            done(_order_worded(made))
    except LabelStudioError as error:
        raise ConnectError(str(error)) from error
    here = [each for each in client.label_studio_connections() if each.id == connection.id]
    return Connected(here[0] if here else connection, steps)


def loaded(name: str) -> Embed:
    """The function that `module:function` names. Raises ConnectError."""
    module, colon, function = name.partition(":")
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), function) if colon else None
    except (ImportError, AttributeError) as error:
        raise ConnectError(f"--embed {name}: {error}") from error
    finally:
        sys.path.remove("")
    if not callable(found):
        raise ConnectError(f"--embed {name} does not name a function: give module:function")
    embed: Embed = found
    return embed


def _known(client: Client, wanted: Wanted) -> list[wire.Connection]:
    """What the project of Label Studio is connected by. Raises ConnectError where that is another project of ours."""
    url = wanted.url.rstrip("/")
    found = [
        known
        for known in client.label_studio_connections()
        if (known.url, known.label_studio_project) == (url, wanted.label_studio_project)
    ]
    for known in found:
        if known.project != wanted.project:
            raise ConnectError(
                f"Project {wanted.label_studio_project} of Label Studio labels {known.project} already: "
                f"`lookahead label-studio disconnect {known.id}` ends that."
            )
    return found


def _project(client: Client, name: str, control: Control, done: Callable[[str], None]) -> None:
    try:
        found = client.project(name)
    except ApiError as error:
        if error.code != "unknown_project":
            raise
        client.create_project(name, list(control.choices))
        done(f"Project {name} is made, with the classes {', '.join(control.choices)}.")
        return
    missing = [choice for choice in control.choices if choice not in found.classes]
    if missing:
        client.add_classes(name, missing)
        done(f"Project {name} has the classes {', '.join(missing)} now as well.")


def _upload(client: Client, studio: LabelStudio, wanted: Wanted, control: Control, done: Callable[[str], None]) -> None:
    """Tasks that the pool does not have, as the caller's own function makes vectors of them."""
    assert wanted.embed is not None
    known = {item.item for item in client.items(wanted.project)}
    waiting: list[Task] = []
    added = 0
    for _, tasks in studio.task_pages(control.from_name):
        waiting += [task for task in tasks if item_of(task.id) not in known and control.data_key in task.data]
        while len(waiting) >= EMBEDDED_AT_ONCE:
            added += _embedded(client, studio, wanted, control, waiting[:EMBEDDED_AT_ONCE])
            waiting = waiting[EMBEDDED_AT_ONCE:]
    if waiting:
        added += _embedded(client, studio, wanted, control, waiting)
    done(f"{added} tasks are in the pool by {getattr(wanted.embed, '__name__', 'your own function')}.")


def _embedded(client: Client, studio: LabelStudio, wanted: Wanted, control: Control, tasks: Sequence[Task]) -> int:
    assert wanted.embed is not None
    values = [str(task.data[control.data_key]) for task in tasks]
    things: list[Any] = list(values)
    if control.kind == "image":
        things = [studio.picture(value, PICTURE_BYTES_MAX) for value in values]
    rows = wanted.embed(things)
    if len(rows) != len(things):
        raise ConnectError(f"--embed gave {len(rows)} rows for {len(things)} tasks: one each is wanted")
    return client.upload_pool(wanted.project, rows, [item_of(task.id) for task in tasks]).added


def _connection(
    client: Client, studio: LabelStudio, wanted: Wanted, control: Control, done: Callable[[str], None]
) -> wire.Connection:
    """The connection between the two projects, with its backend and webhook in Label Studio."""
    for known in _known(client, wanted):
        if known.control != control.from_name:
            continue
        if _registered(studio.backends(), known.id) and _registered(studio.webhooks(), known.id):
            done(f"Connection {known.id} is there already.")
            return known
        # Its address is shown only once, so what Label Studio has lost cannot be set up again: make another.
        client.disconnect_label_studio(known.id)
    made = client.connect_label_studio(
        wanted.project,
        wanted.url.rstrip("/"),
        wanted.token,
        wanted.label_studio_project,
        control=control.from_name,
        add_tasks=wanted.embed is None,
    )
    backend = (wanted.service_url or client.url).rstrip("/") + made.backend
    try:
        studio.add_backend(backend, TITLE)
        if not _registered(studio.webhooks(), made.id):
            studio.add_webhook(f"{backend}/webhook")
    except RefusedError as error:
        client.disconnect_label_studio(made.id)
        raise ConnectError(_why(error, backend)) from error
    done(f"Label Studio has the ML backend {TITLE!r} and its webhook, as connection {made.id}.")
    return made


def _registered(entries: Sequence[dict[str, Any]], prefix: str) -> bool:
    return any(f"/label-studio/lst_{prefix}_" in str(entry.get("url")) for entry in entries)


def _why(error: RefusedError, backend: str) -> str:
    # Label Studio repeats the address in its words; it holds the token.
    words = str(error).replace(backend, f"the backend at {urlsplit(backend).netloc}")
    return f"{words}. Must Label Studio reach this service elsewhere, give --service-url. {PRIVATE_HINT}"


def _synchronised(
    client: Client, follow: Follow, connection: str, *, order: bool, everything: bool = True
) -> job_wire.Job:
    """Read and order, after the job that may be at work already."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            job = client.sync_label_studio(connection, everything=everything, order=order)
        except ApiError as error:
            if error.code != "already_running" or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
            continue
        return follow(client, job)


def _train(client: Client, wanted: Wanted, follow: Follow, done: Callable[[str], None]) -> None:
    found = client.project(wanted.project)
    if found.items == 0:
        raise ConnectError(
            f"project {wanted.project} has no items: no task has what we can read, or the Label Studio project is empty"
        )
    if found.kernel_state is not None or not wanted.train:
        return
    job = found.preparing
    if job is None:
        job = client.train(wanted.project).id
    follow(client, client.job(job))
    done(f"A network is trained on {found.labels} labels." if found.labels else "An untrained network is prepared.")


def _worded(result: dict[str, Any]) -> str:
    text = (
        f"{result.get('tasks', 0)} tasks are read: {result.get('added', 0)} are new in the pool, "
        f"{result.get('events', 0)} annotations are new in the label log."
    )
    return text + (f" {result['problem']}." if result.get("problem") else "")


def _order_worded(result: dict[str, Any]) -> str:
    if not result.get("ranked"):
        return "There is no order yet: nothing is left to label, or no network is prepared."
    return f"{result['ranked']} tasks are in the order of {result['strategy']}."
