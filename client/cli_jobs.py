"""Commands about jobs, and the one that starts a training."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from client.cli_common import (
    AsJson,
    Key,
    ProjectName,
    Url,
    common,
    follow,
    id_column,
    listed,
    out,
    parsed_json,
    parsed_options,
    project_names,
    run,
    show,
)

if TYPE_CHECKING:
    from api_schemas import jobs as wire
    from client.sdk import Client

jobs_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Jobs: what the workers do.")
JobId = Annotated[str, typer.Argument(help="The job's id, as `jobs list` has it.")]


@jobs_app.command("list")
def list_jobs(
    project: Annotated[str | None, typer.Argument(help="Only this project's.", autocompletion=project_names)] = None,
    status: Annotated[
        Literal["queued", "running", "succeeded", "failed", "cancelled"] | None, typer.Option(help="Only those.")
    ] = None,
    kind: Annotated[
        Literal["prepare", "train", "suggest", "predict", "score", "label_studio"] | None,
        typer.Option(help="Only of this kind."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    before: Annotated[str | None, typer.Option(help="Only jobs before this one.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    found = run(url, key, lambda c: c.jobs(project, limit, status=status, kind=kind, before=before))
    heads = (id_column("job"), "kind", "project", "status", id_column("progress"))
    listed(found, as_json, heads, lambda job: (job.id, job.kind, job.project, job.status, progress_of(job)))


def progress_of(job: "wire.Job") -> str:
    """How far a job is."""
    return f"{job.progress.done}/{job.progress.total} {job.progress.unit}" if job.progress.total else ""


@jobs_app.command("show")
def show_job(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show one job."""
    found = run(url, key, lambda c: c.job(job))
    lines = [f"{found.id}: {found.kind} for {found.project}, {found.status}"]
    if found.progress.total:
        lines[0] += f", {found.progress.done} of {found.progress.total} {found.progress.unit}"
    if found.error:
        lines.append(f"{found.error.detail} ({found.error.code})")
    show(found, as_json, "\n".join(lines))


@jobs_app.command("cancel")
def cancel_job(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Ask a job to stop."""
    answer = run(url, key, lambda c: c.cancel(job))
    show(answer, as_json, "cancelled" if answer.status == "cancelled" else "asked to stop at its next tile")


@jobs_app.command("events")
def job_events(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Print a job each time it changes, until it has ended; with --json one object a line."""

    def call(client: "Client") -> None:
        for found in client.job_events(job):
            if as_json or common().as_json:
                sys.stdout.write(found.model_dump_json() + "\n")
                sys.stdout.flush()
            else:
                out.print(f"{found.status}, {found.stage} {progress_of(found)}".rstrip())

    run(url, key, call)


def train(
    project: ProjectName,
    architecture: Annotated[
        str | None, typer.Option(help="Default: the active checkpoint's, else one that suits the items.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the architecture such as 'hidden=[256,256]'.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="0 leaves the initial weights as they are.")] = None,
    loss: Annotated[
        Literal["squared", "cross_entropy", "fixmatch"] | None, typer.Option(help="What is made small.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights and the order of the items.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The peak of the one-cycle schedule.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Labeled items of a step.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    warm_start: Annotated[bool, typer.Option("--warm-start", help="Begin with the active checkpoint.")] = False,
    standardise: Annotated[bool, typer.Option(help="Give the network standardised inputs.")] = True,
    loss_prediction: Annotated[
        bool, typer.Option("--loss-prediction", help="Train the module that the strategy ll4al scores with.")
    ] = False,
    fixmatch: Annotated[str | None, typer.Option(help="Options of the loss fixmatch as JSON.")] = None,
    kernel: Annotated[str | None, typer.Option(help="Kernel options as JSON, in place of the project's.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is active.")] = True,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Train a network on the labels so far, and prepare it."""
    options = parsed_options(option) or None
    of_fixmatch = None if fixmatch is None else parsed_json(fixmatch, "--fixmatch")
    of_kernel = None if kernel is None else parsed_json(kernel, "--kernel")

    def call(client: "Client") -> "wire.Job":
        job = client.train(
            project,
            architecture,
            options,
            epochs=epochs,
            loss=loss,
            seed=seed,
            learning_rate=learning_rate,
            batch_size=batch_size,
            weight_decay=weight_decay,
            warm_start=warm_start,
            standardise=standardise,
            loss_prediction=loss_prediction,
            fixmatch=of_fixmatch,
            kernel=of_kernel,
        )
        return follow(client, job) if wait else job

    job = run(url, key, call)
    show(job, as_json, _trained(job))


def _trained(job: "wire.Job") -> str:
    if job.result is None:
        return f"Job {job.id} trains it."
    trained = job.result["trained"]
    how = f"trained on {trained['labels']} labels" if trained["steps"] else "with the weights that it started from"
    return f"Checkpoint {job.result['checkpoint']}, {trained['architecture']} {how}, is active."
