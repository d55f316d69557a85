"""Commands about Label Studio."""

from typing import Annotated

import typer
from rich.table import Table

from client.cli_common import AsJson, Key, Url, common, err, follow, id_column, out, run, show, show_many
from client.label_studio_connect import Connected, Wanted, loaded
from client.label_studio_connect import connect as connect_project
from client.sdk import Client

label_studio_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Label Studio: it labels, and serves tasks in our order."
)
Connection = Annotated[str, typer.Argument(help="The connection's id, as `label-studio list` has it.")]
ServiceUrl = Annotated[
    str | None, typer.Option(help="Where Label Studio reaches this service, if that is elsewhere for it than for you.")
]


@label_studio_app.command("connect")
def connect(
    url: Annotated[str, typer.Option("--url", envvar="LABEL_STUDIO_URL", help="Where Label Studio answers.")],
    token: Annotated[
        str, typer.Option(envvar="LABEL_STUDIO_API_KEY", help="An access token of Label Studio, legacy or personal.")
    ],
    label_studio_project: Annotated[int, typer.Option(help="The number of its project, as in its address.")],
    project: Annotated[str, typer.Option(help="Our project; made if there is none.")],
    control: Annotated[str | None, typer.Option(help="The Choices control, if there are several.")] = None,
    embed: Annotated[
        str | None,
        typer.Option(help="module:function of your own: a list of texts, or of pictures' bytes, to an array (N, ...)."),
    ] = None,
    train: Annotated[bool, typer.Option(help="Train a network if the project has none.")] = True,
    service_url: ServiceUrl = None,
    lookahead_url: Annotated[str | None, typer.Option(help="Where the service answers.")] = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Connect a project: tasks, annotations, ML backend, webhook and the order of tasks. Safe to repeat."""

    def call(client: Client) -> Connected:
        wanted = Wanted(
            project=project,
            url=url,
            token=token,
            label_studio_project=label_studio_project,
            control=control,
            service_url=service_url,
            embed=None if embed is None else loaded(embed),
            train=train,
        )
        return connect_project(client, wanted, follow, lambda line: err.print(line))

    done = run(lookahead_url, key, call)
    sentence = (
        f"Project {label_studio_project} of {done.connection.url} labels {project}: {done.connection.items} of its "
        f"{done.connection.tasks} tasks are in the pool.\n"
        "Open it in Label Studio and press Label All Tasks: the next task is the one whose label says most."
    )
    show(done.connection, as_json, sentence)


@label_studio_app.command("list")
def list_connections(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List connections."""
    found = run(url, key, lambda c: c.label_studio_connections())
    if as_json or common().as_json:
        show_many(found)
        return
    table = Table(
        id_column("connection"), "project", "label studio", "tasks", "annotations", "order", "problem", box=None
    )
    for each in found:
        place = f"{each.url} project {each.label_studio_project}"
        tasks = f"{each.items}/{each.tasks}"
        order = "none" if each.order_seq is None else f"after {each.order_seq} labels"
        table.add_row(each.id, each.project, place, tasks, str(each.annotations), order, each.problem or "")
    out.print(table)


@label_studio_app.command("sync")
def sync(
    connection: Connection,
    everything: Annotated[bool, typer.Option(help="Compare all tasks, or only what changed since the last.")] = True,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Read what webhooks may have missed, and make the order anew."""
    job = run(url, key, lambda c: follow(c, c.sync_label_studio(connection, everything=everything)))
    result = job.result or {}
    sentence = f"{result.get('tasks', 0)} tasks read, {result.get('added', 0)} added, {result.get('events', 0)} events."
    show(job, as_json, sentence + (f" {result['problem']}." if result.get("problem") else ""))


@label_studio_app.command("disconnect")
def disconnect(connection: Connection, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """End a connection, here and in Label Studio. Labels stay."""
    ended = run(url, key, lambda c: c.disconnect_label_studio(connection))
    left = "" if ended.left is None else f" Not everything is gone in Label Studio: {ended.left}."
    show(ended, as_json, f"Connection {connection} is ended.{left}")
