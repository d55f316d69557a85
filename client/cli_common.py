"""What every command shares: where the service is, how answers and refusals are shown."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from client.cli_routes import commands_for, meant

if TYPE_CHECKING:
    # Only what a command calls is imported, and only then: `--help` and completion are to answer at once.
    from pydantic import BaseModel
    from rich.table import Column

    from api_schemas import jobs as wire
    from api_schemas import projects as project_wire
    from client.errors import ApiError, LookaheadError
    from client.resumable import OnBytes
    from client.sdk import Client

DEFAULT_URL = "http://127.0.0.1:8000"
REFUSED, UNREACHABLE = 1, 3  # exit statuses; 2 is for words that make no command

# Ids and class names may hold anything: none of it is markup.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def project_names(incomplete: str) -> list[str]:
    """Names that begin so, for a shell that completes words: from the service, or none where it does not answer."""
    import os

    with suppress(Exception):  # nothing that goes wrong here belongs on the line that is being typed
        from client.sdk import Client

        url, key = os.environ.get("LOOKAHEAD_URL"), os.environ.get("LOOKAHEAD_API_KEY")
        with Client(url or DEFAULT_URL, key, timeout=1.5) as client:
            return [project.name for project in client.projects() if project.name.startswith(incomplete)]
    return []


# Only those before the command read the environment: what is typed there comes before what is set there.
FirstUrl = Annotated[
    str | None,
    typer.Option("--url", envvar="LOOKAHEAD_URL", help=f"Where the service answers; default {DEFAULT_URL}."),
]
FirstKey = Annotated[str | None, typer.Option("--key", envvar="LOOKAHEAD_API_KEY", help="API key.")]
Url = Annotated[str | None, typer.Option("--url", help="Where the service answers.")]
Key = Annotated[str | None, typer.Option("--key", help="API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
ProjectName = Annotated[str, typer.Argument(help="The project's name.", autocompletion=project_names)]
Existing = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help='Only items whose attributes match: site=north (more than once), or \'{"site": "north"}\' as JSON.'
    ),
]
Resume = Annotated[str | None, typer.Option(help="Go on with the upload of this id, which was interrupted.")]
T = TypeVar("T")


@dataclass(frozen=True)
class Common:
    """The options given before the command; the command's own win."""

    url: str | None = None
    key: str | None = None
    as_json: bool = False


COMMON: ContextVar[Common] = ContextVar("COMMON")


def common() -> Common:
    """What was given before the command."""
    return COMMON.get(Common())


def run(url: str | None, key: str | None, call: "Callable[[Client], T]") -> T:
    """Call with a client; a refusal becomes a sentence and an exit status."""
    from client.errors import LookaheadError
    from client.sdk import Client

    given = common()
    with suppress(KeyboardInterrupt):
        try:
            with Client(url or given.url or DEFAULT_URL, key or given.key) as client:
                try:
                    return call(client)
                except LookaheadError as error:
                    raise typer.Exit(_explained(error, client)) from None
        except LookaheadError as error:
            raise typer.Exit(_explained(error, None)) from None
    err.print("Stopped.")
    raise typer.Exit(130)


def _explained(error: "LookaheadError", client: "Client | None") -> int:
    """Say what went wrong and what to do; the exit status."""
    from client.errors import ApiError, InterruptedUploadError, UnreachableError

    if isinstance(error, ApiError):
        err.print(f"{error} ({error.code})")
        for field in error.problem.errors or ():
            if field.detail not in error.detail:
                err.print(f"  {field.field}: {field.detail}")
        if commands := commands_for(error.detail):
            err.print(f"On the command line: {' or '.join(commands)}.")
        if (advice := _advice(error, client)) is not None:
            err.print(advice)
        return REFUSED
    err.print(str(error))
    if isinstance(error, InterruptedUploadError):
        err.print(f"Run the same command again with --resume {error.upload}")
    return UNREACHABLE if isinstance(error, UnreachableError) else REFUSED


_ADVICE = {
    "project_exists": "To add items to it, leave out --create: `lookahead pool add PROJECT PATH`.",
    "duplicate_id": "If an earlier command was interrupted, the same one with --go-on passes over what is there.",
    "unauthorized": "Give a key: --key, or LOOKAHEAD_API_KEY. `lookahead keys create` makes one.",
    "unknown_job": "`lookahead jobs list` has the ids of jobs.",
    "unknown_item": "`lookahead items list PROJECT` has the ids of items.",
}


def _advice(error: "ApiError", client: "Client | None") -> str | None:
    from client.errors import LookaheadError

    if error.code == "invalid_request":
        return meant(error.detail)
    if error.code != "unknown_project" or client is None:
        return _ADVICE.get(error.code)
    with suppress(LookaheadError):
        names = [project.name for project in client.projects()]
        if not names:
            return "There are no projects yet: `lookahead project create NAME --classes a,b` makes one."
        asked = re.search(r"'([^']*)'", error.detail)
        near = get_close_matches(asked.group(1), names, 3) if asked else []
        return f"Did you mean {' or '.join(near)}?" if near else f"Projects: {', '.join(names[:20])}"
    return None


def accuracies(project: "project_wire.Project") -> list[str]:
    """What is known of how right the kernel model is, in words."""
    said, accuracy = [], project.leave_one_out_accuracy
    if accuracy is not None:
        said.append(f"leave-one-out accuracy {accuracy:.1%}" + flattery(project))
    if project.held_out_accuracy is not None:
        said.append(f"held-out accuracy {project.held_out_accuracy:.1%}")
    return said


def flattery(project: "project_wire.Project") -> str:
    """That leave-one-out accuracy is of labels which the network has seen; nothing where it has seen none."""
    since = project.labels_since_checkpoint
    if since is None or since >= project.labels:
        return ""
    which = "these labels" if since == 0 else f"{project.labels - since} of these labels"
    return f" (flattered: the network was trained on {which})"


def show(answer: "BaseModel", as_json: bool, sentence: str) -> None:
    """Print an answer as JSON where that was asked for, or else the sentence."""
    if as_json or common().as_json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        out.print(sentence)


def show_many(answers: "Iterable[BaseModel]") -> None:
    """Print answers as one JSON list."""
    sys.stdout.write(json.dumps([answer.model_dump(mode="json") for answer in answers], indent=2) + "\n")


def id_column(title: str) -> "Column":
    """A column whose cells are never cut short: ids are there to be copied."""
    from rich.table import Column

    return Column(title, no_wrap=True)


def table(heads: "Sequence[str | Column]", rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their heads; None is an empty cell."""
    from rich.table import Table

    made = Table(*heads, box=None)
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    out.print(made)


def listed(
    answers: "Iterable[BaseModel]",
    as_json: bool,
    heads: "Sequence[str | Column]",
    row: Callable[[Any], Sequence[object]],
) -> None:
    """Print answers as one JSON list where that was asked for, or else as a table."""
    if as_json or common().as_json:
        show_many(answers)
    else:
        table(heads, map(row, answers))


def follow(client: "Client", job: "wire.Job | str") -> "wire.Job":
    """The job once it has succeeded, with a progress bar meanwhile."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("waiting", total=None)

        def update(found: "wire.Job") -> None:
            total = found.progress.total or None
            progress.update(task, description=found.stage, completed=found.progress.done, total=total)

        return client.wait_for(job, update)


@contextmanager
def sending() -> "Iterator[OnBytes]":
    """A progress bar for a file in parts; it shows once the first part is on its way."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("sending", visible=False)

        def update(sent: int, total: int) -> None:
            progress.update(task, completed=sent, total=total, visible=True)

        yield update


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar for things of which it may not be known how many there are."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def parsed_json(text: str, name: str) -> Any:
    """JSON from the command line."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{name}: {text!r} is not JSON: {error}") from error


def parsed_where(texts: list[str] | None) -> dict[str, Any] | None:
    """A filter from JSON objects, or from KEY=VALUE, the values numbers, true, false or plain words."""
    found: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if text.lstrip().startswith("{") or not equals or not name:
            conditions = parsed_json(text, "--where (KEY=VALUE, or JSON)")
            if not isinstance(conditions, dict):
                raise typer.BadParameter(f"--where: {text!r} is neither KEY=VALUE nor a JSON object")
            found |= conditions
            continue
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found if texts else None


def parsed_options(texts: list[str] | None) -> dict[str, Any]:
    """Options from NAME=VALUE, the values JSON or plain words."""
    options = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
        options[name] = parsed_json(value, name) if not value[:1].isalpha() or value in _WORDS else value
    return options


_WORDS = {"true", "false", "null"}
