"""Commands about jobs."""

from typing import Annotated

import typer
from rich.table import Table

from client.cli_common import AsJson, Key, Url, common, follow, id_column, out, run, show, show_many

jobs_app = typer.Typer(no_args_is_help=True, help="Jobs: what the workers do.")
JobId = Annotated[str, typer.Argument(help="The job's id, as `jobs list` has it.")]


@jobs_app.command("list")
def list_jobs(
    project: Annotated[str | None, typer.Argument(help="Only this project's.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    found = run(url, key, lambda c: c.jobs(project))
    if as_json or common().as_json:
        show_many(found)
        return
    table = Table(id_column("job"), "kind", "project", "status", "progress", box=None)
    for job in found:
        share = f"{job.progress.done}/{job.progress.total} {job.progress.unit}" if job.progress.total else ""
        table.add_row(job.id, job.kind, job.project, job.status, share)
    out.print(table)


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


def watch(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Follow a job until it has ended."""
    done = run(url, key, lambda c: follow(c, job))
    show(done, as_json, f"{done.kind} {done.status}")
