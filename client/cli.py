"""The `lookahead` command line: what the HTTP interface does, from a shell."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api_schemas import jobs as wire
from client.errors import ApiError, LookaheadError
from client.sdk import DEFAULT_URL, Client

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Tell annotators what to label next.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
project_app = typer.Typer(no_args_is_help=True, help="Projects.")
pool_app = typer.Typer(no_args_is_help=True, help="Pools.")
checkpoint_app = typer.Typer(no_args_is_help=True, help="Checkpoints.")
jobs_app = typer.Typer(no_args_is_help=True, help="Jobs.")
labels_app = typer.Typer(no_args_is_help=True, help="Many labels at once.")
for name, part in (
    ("project", project_app),
    ("pool", pool_app),
    ("checkpoint", checkpoint_app),
    ("jobs", jobs_app),
    ("labels", labels_app),
):
    app.add_typer(part, name=name)

Url = Annotated[str, typer.Option("--url", envvar="LOOKAHEAD_URL", help="Where the service answers.")]
Key = Annotated[str | None, typer.Option("--key", envvar="LOOKAHEAD_API_KEY", help="API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Existing = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]


def _run(url: str, key: str | None, call: Callable[[Client], Any]) -> Any:
    """Call with a client; a refusal becomes one sentence and exit status 1."""
    try:
        with Client(url, key) as client:
            return call(client)
    except LookaheadError as error:
        err.print(f"{error} ({error.code})" if isinstance(error, ApiError) else str(error), markup=False)
        raise typer.Exit(1) from None


def _show(answer: BaseModel, as_json: bool, sentence: str) -> None:
    if as_json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
    else:
        out.print(sentence, markup=False)


def _watch(client: Client, job: wire.Job | str) -> wire.Job:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as progress:
        task = progress.add_task("waiting", total=None)

        def update(found: wire.Job) -> None:
            total = found.progress.total or None
            progress.update(task, description=found.stage, completed=found.progress.done, total=total)

        return client.wait_for(job, update)


@project_app.command("create")
def create_project(
    name: str,
    classes: Annotated[str, typer.Option(help="Comma-separated class names.")],
    kernel: Annotated[str, typer.Option(help="Kernel options as JSON.")] = "{}",
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Create a project."""
    options = _json(kernel, "--kernel")
    answer = _run(url, key, lambda c: c.create_project(name, classes.split(","), kernel=options))
    _show(answer, as_json, f"Project {name} with {len(answer.classes)} classes.")


@project_app.command("list")
def list_projects(url: Url = DEFAULT_URL, key: Key = None) -> None:
    """List projects."""
    table = Table("project", "items", "labels", "classes", "checkpoint", box=None)
    for found in _run(url, key, lambda c: list(c.projects())):
        row = (found.name, found.items, found.labels, len(found.classes), found.checkpoint or "none")
        table.add_row(*(str(cell) for cell in row))
    out.print(table)


@project_app.command("show")
def show_project(name: str, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Show a project's counts, checkpoint and advice."""
    found = _run(url, key, lambda c: c.project(name))
    accuracy = found.leave_one_out_accuracy
    lines = [
        f"{found.name}: {found.items} items, {found.labels} labeled, {found.skips} skipped, "
        f"{found.unlabeled} to go, {found.open_suggestions} held by annotators",
        f"checkpoint {found.checkpoint or 'none'}"
        + ("" if accuracy is None else f", leave-one-out accuracy {accuracy:.1%}"),
        *found.advice,
    ]
    _show(found, as_json, "\n".join(lines))


@pool_app.command("add")
def add_to_pool(
    project: str,
    file: Existing,
    held_out: Annotated[bool, typer.Option(help="Predict these items, never suggest them.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Add items from an .npz, .npy or .safetensors file."""
    answer = _run(url, key, lambda c: c.upload_pool(project, file, held_out=held_out))
    _show(answer, as_json, f"Added {answer.added} items of shape {answer.input_shape}; the pool has {answer.items}.")


@checkpoint_app.command("add")
def add_checkpoint(
    project: str,
    weights: Existing,
    architecture: Annotated[str, typer.Option(help="mlp or cnn.")] = "mlp",
    option: Annotated[list[str] | None, typer.Option(help="An option such as hidden=[256,256].")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is active.")] = True,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Upload a .safetensors checkpoint and prepare it."""
    options = dict(_option(text) for text in option or [])

    def call(client: Client) -> wire.Job:
        job = client.upload_checkpoint(project, weights, architecture, options)
        return _watch(client, job) if wait else job

    job = _run(url, key, call)
    done = job.result is not None
    _show(job, as_json, f"Checkpoint {job.result['checkpoint']} is active." if done else f"Job {job.id} prepares it.")


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, _json(value, name)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{name}: {text!r} is not JSON: {error}") from error


@app.command()
def label(
    project: str,
    item: str,
    label: Annotated[str | None, typer.Argument(help="A class.")] = None,
    skip: Annotated[bool, typer.Option("--skip", help="The item is not to be labeled.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the label back.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Label one item."""
    if [label is not None, skip, withdraw].count(True) != 1:
        raise typer.BadParameter("give one of: a class, --skip, --withdraw")
    answer = _run(url, key, lambda c: c.skip(project, item) if skip else c.label(project, item, label))
    said = "skipped" if skip else "withdrawn" if withdraw else f"is {answer.label}"
    _show(answer, as_json, f"{item} {said} (label {answer.seq} of {project}).")


@labels_app.command("import")
def import_labels(
    project: str, file: Existing, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """Import labels from a .csv or .jsonl file: all of them, or none."""
    answer = _run(url, key, lambda c: c.upload_labels(project, file))
    _show(answer, as_json, f"Took {answer.accepted} labels, {answer.first_seq} to {answer.last_seq}.")


@app.command()
def suggest(
    project: str,
    count: Annotated[int, typer.Option("-n", "--count")] = 1,
    strategy: Annotated[str, typer.Option(help="See GET /strategies.")] = "auto",
    annotator: Annotated[str | None, typer.Option(help="Hold the items for this annotator.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say what to label next, and why."""
    more: dict[str, Any] = {"strategy": strategy} | ({"annotator": annotator} if annotator else {})
    answer = _run(url, key, lambda c: c.suggest(project, count, **more))
    if as_json:
        sys.stdout.write(answer.model_dump_json(indent=2) + "\n")
        return
    table = Table("item", "score", "predicted", "confidence", "would change most", box=None)
    for found in answer.suggestions:
        sure = "" if found.confidence is None else f"{found.confidence:.0%}"
        why = ", ".join(change.item for change in found.why)
        table.add_row(found.item, f"{found.score:.4g}", found.predicted or "", sure, why)
    out.print(table)
    if answer.reason:
        out.print(answer.reason, markup=False)


@jobs_app.command("list")
def list_jobs(project: Annotated[str | None, typer.Argument()] = None, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """List the newest jobs."""
    table = Table("job", "kind", "project", "status", "progress", box=None)
    for job in _run(url, key, lambda c: c.jobs(project)):
        share = f"{job.progress.done}/{job.progress.total} {job.progress.unit}" if job.progress.total else ""
        table.add_row(job.id, job.kind, job.project, job.status, share)
    out.print(table)


@jobs_app.command("show")
def show_job(job: str, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Show one job as JSON."""
    _show(_run(url, key, lambda c: c.job(job)), True, "")


@jobs_app.command("cancel")
def cancel_job(job: str, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Ask a job to stop."""
    answer = _run(url, key, lambda c: c.cancel(job))
    out.print("cancelled" if answer.status == "cancelled" else "asked to stop at its next tile")


@app.command()
def watch(job: str, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Follow a job until it has ended."""
    done = _run(url, key, lambda c: _watch(c, job))
    out.print(f"{done.kind} {done.status}")
