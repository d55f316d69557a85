"""Commands about projects: their classes, how opinions make labels, their learning curve."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from client.cli_common import (
    REFUSED,
    AsJson,
    Key,
    ProjectName,
    Url,
    accuracies,
    common,
    err,
    flattery,
    id_column,
    listed,
    parsed_json,
    run,
    show,
)
from client.cli_insight import import_held_out_labels, show_diagnostics
from client.cli_routes import with_commands

if TYPE_CHECKING:
    from api_schemas.projects import CurvePoint, Project

Rule = Annotated[Literal["latest", "majority", "overlap"] | None, typer.Option(help="Whose label of an item counts.")]
Overlap = Annotated[int | None, typer.Option(help="With overlap: how many annotators are asked about each item.")]

project_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Projects.")
classes_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Classes of a project.")
project_app.add_typer(classes_app, name="classes")
project_app.command("diagnostics")(show_diagnostics)
project_app.command("held-out-labels")(import_held_out_labels)


@project_app.command("create")
def create_project(
    name: ProjectName,
    classes: Annotated[str, typer.Option(help="Comma-separated class names.")],
    kernel: Annotated[str, typer.Option(help="Kernel options as JSON.")] = "{}",
    defaults: Annotated[str, typer.Option(help="What suggestions do unless asked otherwise, as JSON.")] = "{}",
    rule: Rule = None,
    overlap: Overlap = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Create a project."""
    options = {"kernel": parsed_json(kernel, "--kernel"), "defaults": parsed_json(defaults, "--defaults")}
    labeling = None if rule is None else {"rule": rule} | ({} if overlap is None else {"overlap": overlap})
    answer = run(url, key, lambda c: c.create_project(name, classes.split(","), labeling=labeling, **options))
    show(answer, as_json, f"Project {name} with {len(answer.classes)} classes.")


@project_app.command("list")
def list_projects(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List projects."""
    projects = run(url, key, lambda c: list(c.projects()))
    heads = (id_column("project"), "items", "labels", "classes", "leave-one-out", "held-out", "checkpoint")

    def row(found: "Project") -> tuple[object, ...]:
        one, held = found.leave_one_out_accuracy, found.held_out_accuracy
        return (
            *(found.name, found.items, found.labels, len(found.classes)),
            None if one is None else f"{one:.1%}" + ("*" if flattery(found) else ""),
            None if held is None else f"{held:.1%}",
            found.checkpoint or "none",
        )

    listed(projects, as_json, heads, row)
    if any(p.leave_one_out_accuracy is not None and flattery(p) for p in projects) and not (
        as_json or common().as_json
    ):
        err.print("* flattered: the network was trained on these labels, or some of them")


@project_app.command("show")
def show_project(name: ProjectName, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a project's counts, checkpoint and advice."""
    found = run(url, key, lambda c: c.project(name))
    lines = [
        f"{found.name}: {found.items} items, {found.labels} labeled, {found.skips} skipped, "
        f"{found.unlabeled} to go, {found.open_suggestions} held by annotators",
        ", ".join([f"checkpoint {found.checkpoint or 'none'}", *accuracies(found)]),
        *map(with_commands, found.advice),
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


@project_app.command("delete")
def delete_project(
    name: ProjectName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: for scripts.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Delete a project with its items, labels, checkpoints and jobs. It cannot be undone."""
    if not yes:
        _ask_for(name, run(url, key, lambda c: c.project(name)))
    gone = run(url, key, lambda c: c.delete_project(name))
    ended = f" {gone.jobs_cancelled} jobs were cancelled." if gone.jobs_cancelled else ""
    told = (
        f"Project {name} is deleted: {gone.items:,} items, {gone.labels:,} of them labeled, "
        f"{gone.checkpoints:,} checkpoints."
    )
    show(gone, as_json, told + ended)


def _ask_for(name: str, found: "Project") -> None:
    """Have the name typed; ends the command where it is not."""
    if not sys.stdin.isatty():
        err.print(f"Project {name} is not deleted: there is no terminal to ask at; --yes deletes without asking.")
        raise typer.Exit(REFUSED)
    err.print(
        f"This deletes project {name} with its {found.items:,} items, {found.labels:,} of them labeled, and all its "
        "checkpoints and jobs. It cannot be undone."
    )
    if typer.prompt("Type its name to delete it", default="", show_default=False, err=True).strip() != name:
        err.print(f"That is not its name: project {name} is not deleted.")
        raise typer.Exit(REFUSED)


@classes_app.command("add")
def add_classes(
    project: ProjectName,
    classes: Annotated[list[str], typer.Argument(help="Names of the new classes.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Append classes; those there are keep their indices."""
    answer = run(url, key, lambda c: c.add_classes(project, classes))
    show(answer, as_json, f"Project {project} has {len(answer.classes)} classes.")


@project_app.command("curve")
def show_curve(
    project: ProjectName,
    after: Annotated[int, typer.Option(help="Only points past this label.")] = -1,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show the learning curve: accuracy and changed predictions label by label."""
    points = run(url, key, lambda c: list(c.curve(project, after)))
    heads = ("label", "labeled items", "leave-one-out", "held-out", "changed since checkpoint", "changed now")

    def row(point: "CurvePoint") -> tuple[object, ...]:
        shares = (point.leave_one_out_accuracy, point.held_out_accuracy, point.changed_predictions, point.flipped)
        return (point.label_seq, point.labels, *(None if share is None else f"{share:.1%}" for share in shares))

    listed(points, as_json, heads, row)
