"""What every command shares: where the service is, how answers and refusals are shown."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from api_schemas import jobs as wire
from client.errors import ApiError, InterruptedUploadError, LookaheadError
from client.resumable import OnBytes
from client.sdk import DEFAULT_URL, Client

# Ids and class names may hold anything: none of it is markup.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

# Only those before the command read the environment: what is typed there comes before what is set there.
FirstUrl = Annotated[
    str | None,
    typer.Option("--url", envvar="LOOKAHEAD_URL", help=f"Where the service answers; default {DEFAULT_URL}."),
]
FirstKey = Annotated[str | None, typer.Option("--key", envvar="LOOKAHEAD_API_KEY", help="API key.")]
Url = Annotated[str | None, typer.Option("--url", help="Where the service answers.")]
Key = Annotated[str | None, typer.Option("--key", help="API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
ProjectName = Annotated[str, typer.Argument(help="The project's name.")]
Existing = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
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


def run(url: str | None, key: str | None, call: Callable[[Client], T]) -> T:
    """Call with a client; a refusal becomes one sentence and exit status 1."""
    given = common()
    try:
        with Client(url or given.url or DEFAULT_URL, key or given.key) as client:
            return call(client)
    except LookaheadError as error:
        err.print(f"{error} ({error.code})" if isinstance(error, ApiError) else str(error))
        if isinstance(error, InterruptedUploadError):
            err.print(f"Run the same command again with --resume {error.upload}")
        raise typer.Exit(1) from None


def show(answer: BaseModel, as_json: bool, sentence: str) -> None:
    """Print an answer as JSON where that was asked for, or else the sentence."""
    if as_json or common().as_json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        out.print(sentence)


def show_many(answers: Iterable[BaseModel]) -> None:
    """Print answers as one JSON list."""
    sys.stdout.write(json.dumps([answer.model_dump(mode="json") for answer in answers], indent=2) + "\n")


def id_column(title: str) -> Column:
    """A column whose cells are never cut short: ids are there to be copied."""
    return Column(title, no_wrap=True)


def follow(client: Client, job: wire.Job | str) -> wire.Job:
    """The job once it has succeeded, with a progress bar meanwhile."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("waiting", total=None)

        def update(found: wire.Job) -> None:
            total = found.progress.total or None
            progress.update(task, description=found.stage, completed=found.progress.done, total=total)

        return client.wait_for(job, update)


@contextmanager
def sending() -> Iterator[OnBytes]:
    """A progress bar for a file in parts; it shows once the first part is on its way."""
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("sending", visible=False)

        def update(sent: int, total: int) -> None:
            progress.update(task, completed=sent, total=total, visible=True)

        yield update


def parsed_json(text: str, name: str) -> Any:
    """JSON from the command line."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{name}: {text!r} is not JSON: {error}") from error


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
