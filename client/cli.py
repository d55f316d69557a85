"""The `lookahead` command line: what the HTTP interface does, from a shell."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from api_schemas import jobs as wire
from api_schemas.labels import LabelAccepted
from client.cli_common import (
    COMMON,
    AsJson,
    Common,
    Existing,
    FirstKey,
    FirstUrl,
    Key,
    ProjectName,
    Resume,
    Url,
    common,
    follow,
    id_column,
    out,
    parsed_json,
    parsed_options,
    run,
    sending,
    show,
    show_many,
)
from client.cli_jobs import jobs_app, train, watch
from client.cli_leases import leases_app
from client.cli_projects import classes_app, show_curve
from client.sdk import Client

Rule = Annotated[Literal["latest", "majority", "overlap"] | None, typer.Option(help="Whose label of an item counts.")]
Overlap = Annotated[int | None, typer.Option(help="With overlap: how many annotators are asked about each item.")]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
project_app = typer.Typer(no_args_is_help=True, help="Projects.")
pool_app = typer.Typer(no_args_is_help=True, help="Pools.")
checkpoint_app = typer.Typer(no_args_is_help=True, help="Checkpoints.")
labels_app = typer.Typer(no_args_is_help=True, help="Many labels at once.")
for name, part in (
    ("project", project_app),
    ("pool", pool_app),
    ("checkpoint", checkpoint_app),
    ("jobs", jobs_app),
    ("labels", labels_app),
    ("leases", leases_app),
):
    app.add_typer(part, name=name)
project_app.add_typer(classes_app, name="classes")
project_app.command("curve")(show_curve)


@app.callback()
def before_every_command(url: FirstUrl = None, key: FirstKey = None, as_json: AsJson = False) -> None:
    """Tell annotators what to label next."""
    COMMON.set(Common(url, key, as_json))


@project_app.command("create")
def create_project(
    name: ProjectName,
    classes: Annotated[str, typer.Option(help="Comma-separated class names.")],
    kernel: Annotated[str, typer.Option(help="Kernel options as JSON.")] = "{}",
    rule: Rule = None,
    overlap: Overlap = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Create a project."""
    options = parsed_json(kernel, "--kernel")
    labeling = None if rule is None else {"rule": rule} | ({} if overlap is None else {"overlap": overlap})
    answer = run(url, key, lambda c: c.create_project(name, classes.split(","), kernel=options, labeling=labeling))
    show(answer, as_json, f"Project {name} with {len(answer.classes)} classes.")


@project_app.command("list")
def list_projects(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List projects."""
    projects = run(url, key, lambda c: list(c.projects()))
    if as_json or common().as_json:
        show_many(projects)
        return
    table = Table(id_column("project"), "items", "labels", "classes", "checkpoint", box=None)
    for found in projects:
        row = (found.name, found.items, found.labels, len(found.classes), found.checkpoint or "none")
        table.add_row(*(str(cell) for cell in row))
    out.print(table)


@project_app.command("show")
def show_project(name: ProjectName, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a project's counts, checkpoint and advice."""
    found = run(url, key, lambda c: c.project(name))
    accuracy = found.leave_one_out_accuracy
    lines = [
        f"{found.name}: {found.items} items, {found.labels} labeled, {found.skips} skipped, "
        f"{found.unlabeled} to go, {found.open_suggestions} held by annotators",
        f"checkpoint {found.checkpoint or 'none'}"
        + ("" if accuracy is None else f", leave-one-out accuracy {accuracy:.1%}"),
        *found.advice,
    ]
    show(found, as_json, "\n".join(lines))


@project_app.command("labeling")
def set_labeling(
    name: ProjectName,
    rule: Annotated[Literal["latest", "majority", "overlap"], typer.Argument(help="Whose label of an item counts.")],
    overlap: Overlap = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Choose how several annotators' labels of one item make one."""
    answer = run(url, key, lambda c: c.set_labeling(name, rule, overlap))
    show(answer, as_json, f"{name} goes by {rule}: {answer.labels} labeled, {answer.unlabeled} to go.")


@pool_app.command("add")
def add_to_pool(
    project: ProjectName,
    file: Existing,
    held_out: Annotated[bool, typer.Option(help="Predict these items, never suggest them.")] = False,
    resume: Resume = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Add items from an .npz, .npy or .safetensors file."""
    with sending() as told:
        answer = run(url, key, lambda c: c.upload_pool(project, file, held_out=held_out, on_bytes=told, resume=resume))
    show(answer, as_json, f"Added {answer.added} items of shape {answer.input_shape}; the pool has {answer.items}.")


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

    def call(client: Client) -> wire.Job:
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


@app.command()
def label(
    project: ProjectName,
    item: str,
    label: Annotated[str | None, typer.Argument(help="A class.")] = None,
    skip: Annotated[bool, typer.Option("--skip", help="The item is not to be labeled.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the label back.")] = False,
    own: Annotated[bool, typer.Option("--own", help="With --skip: only this annotator does not get it.")] = False,
    annotator: Annotated[str | None, typer.Option(help="Who says so.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Label one item."""
    if [label is not None, skip, withdraw].count(True) != 1:
        raise typer.BadParameter("give one of: a class, --skip, --withdraw")
    if own and (not skip or annotator is None):
        raise typer.BadParameter("--own goes with --skip and --annotator")

    def call(client: Client) -> LabelAccepted:
        if skip:
            return client.skip(project, item, own=own, annotator=annotator)
        return client.label(project, item, label, annotator=annotator)

    answer = run(url, key, call)
    said = "skipped" if skip else "withdrawn" if withdraw else f"is {answer.label}"
    show(answer, as_json, f"{item} {said} (label {answer.seq} of {project}).")


@labels_app.command("show")
def show_item(project: ProjectName, item: str, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show what every annotator says of an item."""
    found = run(url, key, lambda c: c.item(project, item))
    lines = [f"{found.item}: {found.label or found.state}"]
    for said in found.opinions:
        what = said.label or ("skipped for themselves" if said.own else "skipped")
        lines.append(f"  {said.annotator or 'without a name'}: {what} (label {said.seq})")
    show(found, as_json, "\n".join(lines))


@labels_app.command("import")
def import_labels(
    project: ProjectName, file: Existing, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Import labels from a .csv or .jsonl file: all of them, or none."""
    answer = run(url, key, lambda c: c.upload_labels(project, file))
    show(answer, as_json, f"Took {answer.accepted} labels, {answer.first_seq} to {answer.last_seq}.")


@app.command()
def suggest(
    project: ProjectName,
    count: Annotated[int, typer.Option("-n", "--count", help="How many items.")] = 1,
    strategy: Annotated[str | None, typer.Option(help="Default: the project's; see GET /strategies.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option such as why=3 or batch=top_k.")] = None,
    annotator: Annotated[str | None, typer.Option(help="Hold the items for this annotator.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes random choices repeatable.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say what to label next, and why."""
    options = parsed_options(option) or None
    answer = run(
        url,
        key,
        lambda c: c.suggest(project, count, strategy=strategy, options=options, annotator=annotator, seed=seed),
    )
    if as_json or common().as_json:
        show(answer, True, "")
        return
    if answer.suggestions:
        table = Table(id_column("item"), "score", "predicted", "confidence", "would change most", box=None)
        for found in answer.suggestions:
            sure = "" if found.confidence is None else f"{found.confidence:.0%}"
            why = ", ".join(change.item for change in found.why)
            table.add_row(found.item, f"{found.score:.4g}", found.predicted or "", sure, why)
        out.print(table)
    else:
        out.print("Nothing to suggest.")
    if answer.reason:
        out.print(answer.reason)


app.command()(train)
app.command()(watch)
