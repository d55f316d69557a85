"""Commands about checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli_common import (
    AsJson,
    Existing,
    Key,
    ProjectName,
    Resume,
    Url,
    follow,
    parsed_json,
    parsed_options,
    run,
    sending,
    show,
)

if TYPE_CHECKING:
    from api_schemas import jobs as wire
    from client.sdk import Client

checkpoint_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Checkpoints: networks that you have trained."
)


@checkpoint_app.callback()
def checkpoints() -> None:
    """With this there may be one command of a group."""


@checkpoint_app.command("add")
def add_checkpoint(
    project: ProjectName,
    weights: Existing,
    architecture: Annotated[
        str | None, typer.Option(help="mlp (the default), cnn, resnet18 or another of docs/networks.md.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option such as 'hidden=[256,256]'.")] = None,
    loss: Annotated[str | None, typer.Option(help="squared or cross_entropy: what it was trained with.")] = None,
    kernel: Annotated[str | None, typer.Option(help="Kernel options as JSON, in place of the project's.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="All of these in one JSON file instead.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is active.")] = True,
    resume: Resume = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Upload a checkpoint, a .safetensors or a .pt state dict, and prepare it."""
    said: dict[str, Any] = {"architecture": architecture, "options": parsed_options(option) or None, "loss": loss}
    said["kernel"] = None if kernel is None else parsed_json(kernel, "--kernel")
    given = {name: value for name, value in said.items() if value is not None}
    if manifest is not None:
        if given:
            raise typer.BadParameter("give either --manifest or the options it stands for")
        given = _manifest(manifest)
    given = {"architecture": "mlp"} | given

    def call(client: "Client") -> "wire.Job":
        with sending() as told:
            job = client.upload_checkpoint(project, weights, **given, on_bytes=told, resume=resume)
        return follow(client, job) if wait else job

    job = run(url, key, call)
    done = f"Job {job.id} prepares it." if job.result is None else f"Checkpoint {job.result['checkpoint']} is active."
    show(job, as_json, done)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = parsed_json(path.read_text(encoding="utf-8"), "--manifest")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"--manifest: {path} is not text") from error
    takes = ("architecture", "options", "loss", "kernel")
    if not isinstance(found, dict) or "architecture" not in found or not found.keys() <= set(takes):
        raise typer.BadParameter(f"--manifest: {path} must be an object of {', '.join(takes)}, architecture at least")
    return found
