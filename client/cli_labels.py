"""Commands about labels: one, many, and the log of all."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_common import AsJson, Existing, Key, ProjectName, Url, common, id_column, listed, out, run, show

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api_schemas.labels import LabelAccepted
    from client.sdk import Client

labels_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Many labels at once, and their log.")


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

    def call(client: "Client") -> "LabelAccepted":
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


@labels_app.command("export")
def export_labels(
    project: ProjectName,
    file: Annotated[Path, typer.Argument(dir_okay=False, writable=True, help="What is to be written: .csv or .jsonl.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Write the labels as they stand, one per labeled item, as `labels import` takes them."""
    if file.suffix.lower() not in {".csv", ".jsonl"}:
        raise typer.BadParameter(f"{file} is to end in .csv or .jsonl")

    def call(client: "Client") -> int:
        return _written(file, ((i.item, i.label) for i in client.items(project, "labeled") if i.label is not None))

    count = run(url, key, call)
    if as_json or common().as_json:
        out.print(json.dumps({"labels": count, "file": str(file)}))
    else:
        out.print(f"Wrote {count} label{'' if count == 1 else 's'} to {file}.")


def _written(file: Path, labels: "Iterable[tuple[str, str]]") -> int:
    """How many labels were written; the file is there whole, or as it was."""
    import csv

    count, beside = 0, file.with_name(f"{file.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as opened:
            rows = csv.writer(opened, lineterminator="\n")
            if as_csv := file.suffix.lower() == ".csv":
                rows.writerow(("item", "label"))
            for item, label in labels:
                if as_csv:
                    rows.writerow((item, label))
                else:
                    opened.write(json.dumps({"item": item, "label": label}, ensure_ascii=False) + "\n")
                count += 1
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    return count


@labels_app.command("log")
def show_log(
    project: ProjectName,
    after: Annotated[int, typer.Option(help="Only events past this number.")] = 0,
    annotator: Annotated[str | None, typer.Option(help="Only this annotator's.")] = None,
    item: Annotated[str | None, typer.Option(help="Only of this item.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print the log: every label, skip and withdrawal, in order."""
    found = run(url, key, lambda c: list(c.label_log(project, after, annotator=annotator, item=item)))
    heads = ("seq", id_column("item"), "label", "annotator", "at")
    listed(
        found,
        as_json,
        heads,
        lambda e: (e.seq, e.item, e.label or e.kind, e.annotator, f"{e.created_at:%Y-%m-%d %H:%M:%S}"),
    )
