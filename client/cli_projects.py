"""Commands about a project's classes and its learning curve."""

from typing import Annotated

import typer
from rich.table import Table

from client.cli_common import AsJson, Key, ProjectName, Url, common, out, run, show, show_many

classes_app = typer.Typer(no_args_is_help=True, help="Classes of a project.")


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


def show_curve(
    project: ProjectName,
    after: Annotated[int, typer.Option(help="Only points past this label.")] = -1,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show the learning curve: accuracy and changed predictions label by label."""
    points = run(url, key, lambda c: list(c.curve(project, after)))
    if as_json or common().as_json:
        show_many(points)
        return
    table = Table("label", "labeled items", "leave-one-out", "changed since checkpoint", "changed now", box=None)
    for point in points:
        shares = (point.leave_one_out_accuracy, point.changed_predictions, point.flipped)
        table.add_row(
            str(point.label_seq), str(point.labels), *("" if share is None else f"{share:.1%}" for share in shares)
        )
    out.print(table)
