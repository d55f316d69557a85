"""Commands that add items: from folders, tables, arrays."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_common import AsJson, Key, ProjectName, Resume, Url, counting, err, run, sending, show

if TYPE_CHECKING:
    from client.sdk import Client
    from client.sources.adding import ItemsAdded
    from client.sources.parts import Reading

pool_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Pools: the items of a project.")
_READING = "How it is read (guessed, and said, where left out)"


@pool_app.callback()
def pools() -> None:
    """With this there may be one command of a group."""


@pool_app.command("add")
def add_to_pool(
    project: ProjectName,
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            readable=True,
            help="A folder of pictures; .csv, .tsv, .parquet, .arrow; .npz, .npy, .safetensors; a .zip of pictures.",
        ),
    ],
    create: Annotated[
        bool, typer.Option("--create", help="Make the project, of the classes that the labels say.")
    ] = False,
    classes: Annotated[str | None, typer.Option(help="With --create: comma-separated class names.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Record the labels that are in there, too.")] = False,
    add_classes: Annotated[
        bool, typer.Option("--add-classes", help="Append classes that the project has not.")
    ] = False,
    held_out: Annotated[bool, typer.Option("--held-out", help="Predict these items, never suggest them.")] = False,
    id_column: Annotated[
        str | None, typer.Option(help="Column of the ids, or none: numbered.", rich_help_panel=_READING)
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.", rich_help_panel=_READING)] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the texts.", rich_help_panel=_READING)] = None,
    features: Annotated[
        str | None, typer.Option(help="Comma-separated columns that make the vectors.", rich_help_panel=_READING)
    ] = None,
    attributes: Annotated[
        str | None, typer.Option(help="Comma-separated columns to filter by, or none.", rich_help_panel=_READING)
    ] = None,
    fill: Annotated[float | None, typer.Option(help="In place of missing numbers.", rich_help_panel=_READING)] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of a CSV file.", rich_help_panel=_READING)] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a CSV file.", rich_help_panel=_READING)] = None,
    dimensions: Annotated[
        int | None, typer.Option(help="Of the vectors that texts become; 1024.", rich_help_panel=_READING)
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(help="Side to which pictures are scaled for the network; 32.", rich_help_panel=_READING),
    ] = None,
    embed: Annotated[
        str | None,
        typer.Option(help="MODULE:FUNCTION from a list of texts or pictures to vectors.", rich_help_panel=_READING),
    ] = None,
    go_on: Annotated[bool, typer.Option("--go-on", help="After an interruption: pass over what is there.")] = False,
    resume: Resume = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Add items from a folder of pictures, a table, or a file of arrays."""
    reading: Reading = {
        "id_column": "" if id_column == "none" else id_column,
        "label_column": label_column,
        "text_column": text_column,
        "features": _names(features),
        "attributes": _names(attributes),
        "fill": fill,
        "delimiter": None if delimiter is None else delimiter.replace("\\t", "\t"),
        "encoding": encoding,
        "dimensions": dimensions,
        "image_size": image_size,
    }

    def call(client: "Client") -> "ItemsAdded":
        if embed is not None:
            from client.sources.choose import embed_function

            sys.path.insert(0, str(Path.cwd()))  # where somebody keeps a module of their own
            reading["embed"] = embed_function(embed)
        with sending() as of_bytes, counting("items") as of_items:
            return client.add_items(
                project,
                path,
                send_labels=labels,
                held_out=held_out,
                create=create,
                classes=_names(classes),
                add_classes=add_classes,
                go_on=go_on,
                on_items=of_items,
                on_bytes=of_bytes,
                resume=resume,
                **reading,
            )

    done = run(url, key, call)
    for line in done.said:
        err.print(line)
    sentence = f"Added {done.added} items; the pool has {done.items}."
    if done.passed_over:
        sentence += f" {done.passed_over} were there already."
    if labels:
        sentence += f" Recorded {done.labels} labels{' of held-out items' if held_out else ''}."
    show(done, as_json, sentence)


def _names(text: str | None) -> list[str] | None:
    """Comma-separated names; "none" is none of them."""
    if text is None:
        return None
    return [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]
