"""Commands about items: which there are, what is said of one, what they can be filtered by."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from client.cli_common import (
    AsJson,
    Key,
    ProjectName,
    Url,
    Where,
    err,
    id_column,
    listed,
    out,
    parsed_json,
    parsed_options,
    parsed_where,
    run,
    show,
)
from client.cli_labels import show_item

if TYPE_CHECKING:
    from api_schemas.projects import AttributesUpdated, Content
    from client.sdk import Client

items_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Items of a project.")
items_app.command("show")(show_item)


@items_app.command("list")
def list_items(
    project: ProjectName,
    state: Annotated[
        Literal["unlabeled", "labeled", "skipped", "leased", "held_out"] | None, typer.Option(help="Only those.")
    ] = None,
    where: Where = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List items in pool order."""
    from itertools import islice

    conditions = parsed_where(where)
    found = run(url, key, lambda c: list(islice(c.items(project, state, where=conditions), limit + 1)))
    more = len(found) > limit
    found = found[:limit]
    heads = (id_column("item"), "state", "label", "attributes")
    listed(
        found, as_json, heads, lambda i: (i.item, i.state, i.label, json.dumps(i.attributes) if i.attributes else "")
    )
    if more:
        err.print(
            f"These are the first {limit}; there are more: --limit {10 * limit}, or fewer with --state or --where."
        )


@items_app.command("contents")
def show_contents(
    project: ProjectName,
    items: Annotated[list[str], typer.Argument(help="Ids of items.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print what items are: a text, the numbers of a vector, or that there is a picture."""
    found = run(url, key, lambda c: c.contents(project, items))
    heads = (id_column("item"), "kind", "what")

    def row(content: "Content") -> tuple[object, ...]:
        return content.item, content.kind, content.text or content.image or _numbers(content)

    listed(found, as_json, heads, row)


def _numbers(content: "Content") -> str:
    values = content.values or []
    if content.names is None:
        return " ".join(f"{value:.3g}" for value in values)
    return "\n".join(f"{name} {value:.6g}" for name, value in zip(content.names, values, strict=True))


@items_app.command("picture")
def save_picture(
    project: ProjectName,
    item: Annotated[str, typer.Argument(help="An item that is a picture.")],
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to write it.")],
    size: Annotated[int, typer.Option(help="Pixels of its longer side, at most.")] = 512,
    url: Url = None,
    key: Key = None,
) -> None:
    """Write an item's picture to a file."""
    content = run(url, key, lambda c: c.picture(project, item, size))
    file.write_bytes(content)
    out.print(f"{len(content)} bytes in {file}.")


@items_app.command("set")
def set_attributes(
    project: ProjectName,
    item: Annotated[str | None, typer.Argument(help="One item; without, they come from --file.")] = None,
    values: Annotated[list[str] | None, typer.Argument(help="KEY=VALUE; KEY=null takes the key away.")] = None,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help='JSON: {"item": {"key": value}}.')
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Set what items can be filtered by."""
    if (file is None) == (item is None) or (item is not None and not values):
        raise typer.BadParameter("give an item with KEY=VALUE, or --file")
    given: Any
    if file is not None:
        given = parsed_json(file.read_text(encoding="utf-8"), "--file")
        if not isinstance(given, dict):
            raise typer.BadParameter('--file: must be an object: {"item": {"key": value}}')
    else:
        given = {item: parsed_options(values)}

    def call(client: "Client") -> "AttributesUpdated":
        return client.set_attributes(project, given)

    answer = run(url, key, call)
    show(answer, as_json, f"Set attributes of {answer.updated} items.")
