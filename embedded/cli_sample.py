"""The command that makes the sample project, on any service."""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_common import AsJson, Key, Url, follow, run, show

if TYPE_CHECKING:
    from api_schemas.projects import Project
    from client.sdk import Client


def sample(
    name: Annotated[str, typer.Option(help="What to call it.")] = "digits",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a project to try things with: handwritten digits, a few of them labeled, and a model.

    Where it is there already it stays as it is; what an interrupted attempt left is gone on with.
    """

    def make_it(client: "Client") -> "tuple[Project, str]":
        from embedded.sample import make

        return make(client, name, wait=lambda job: follow(client, job)), client.url

    made, where = run(url, key, make_it)
    show(
        made,
        as_json,
        f"Project {made.name} has {made.items:,} digits, {made.labels} of them labeled.\n"
        f"Label in the browser: {where}/annotate?project={made.name}",
    )
