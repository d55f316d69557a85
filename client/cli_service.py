"""Commands about the service itself, files on their way to it, and the shell."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from client.cli_common import REFUSED, AsJson, Existing, Key, Resume, Url, common, err, out, run, sending, show

uploads_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Files in parts: sent ahead, gone on with, given up."
)
UploadId = Annotated[str, typer.Argument(help="The upload's id.")]


def status(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Say whether the service is up and what its parts say; exit status 1 where one is away."""
    found = run(url, key, lambda c: c.ready())
    parts = "".join(f"\n  {name}: {said}" for name, said in (found.parts or {}).items())
    show(found, as_json, f"The service is {'ready' if found.status == 'ok' else found.status}.{parts}")
    if found.status != "ok":
        raise typer.Exit(REFUSED)


def ping(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Say whether the service's process answers; ask nothing of its parts."""
    show(run(url, key, lambda c: c.alive()), as_json, "The service answers.")


def metrics(url: Url = None, key: Key = None) -> None:
    """Print what the service and its workers count, as Prometheus reads it."""
    sys.stdout.write(run(url, key, lambda c: c.metrics()))


@uploads_app.command("send")
def send_upload(file: Existing, resume: Resume = None, url: Url = None, key: Key = None) -> None:
    """Send a file; prints its id, for a form field `upload`."""
    with sending() as told:
        out.print(run(url, key, lambda c: c.send_file(file, on_bytes=told, resume=resume)))


@uploads_app.command("show")
def show_upload(upload: UploadId, url: Url = None, key: Key = None) -> None:
    """Print how many bytes have arrived."""
    out.print(run(url, key, lambda c: c.upload_offset(upload)))


@uploads_app.command("discard")
def discard_upload(upload: UploadId, url: Url = None, key: Key = None) -> None:
    """Give an upload up."""
    run(url, key, lambda c: c.discard_upload(upload))
    out.print(f"{upload} is given up.")


@uploads_app.command("limits")
def upload_limits(
    upload: Annotated[str | None, typer.Argument(help="Of one upload; default: of all.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print how large a file may be."""
    import json

    found = run(url, key, lambda c: c.upload_limits(upload))
    if as_json or common().as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for name, value in found.items():
        out.print(f"{name}: {value}")


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Which shell.")],
    install: Annotated[bool, typer.Option("--install", help="Write it where the shell looks, instead of out.")] = False,
) -> None:
    """Print what makes the shell complete commands, options and names of projects.

    In .bashrc: eval "$(lookahead completion bash)".
    """
    from typer import _completion_shared as scripts  # they have no public name

    if install:
        _, path = scripts.install(shell=shell, prog_name="lookahead", complete_var=_VARIABLE)
        err.print(f"Written to {Path(path)}; open a new shell.")
        return
    script = scripts.get_completion_script(prog_name="lookahead", complete_var=_VARIABLE, shell=shell)
    sys.stdout.write(script + "\n")


_VARIABLE = "_LOOKAHEAD_COMPLETE"
