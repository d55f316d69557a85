"""Commands about leases: who holds what, for how long."""

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_common import AsJson, Key, ProjectName, Url, id_column, listed, run, show

if TYPE_CHECKING:
    from api_schemas.leases import Lease

leases_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Items that annotators hold.")
Annotator = Annotated[str, typer.Argument(help="Who holds them.")]
Items = Annotated[list[str] | None, typer.Argument(help="Default: everything the annotator holds.")]


@leases_app.command("list")
def list_leases(
    project: ProjectName,
    annotator: Annotated[str | None, typer.Option(help="Only this annotator's.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List who holds what."""
    found = run(url, key, lambda c: list(c.leases(project, annotator)))
    heads = (id_column("item"), "annotator", "since", "until", "strategy")

    def row(lease: "Lease") -> tuple[object, ...]:
        times = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (lease.since, lease.lease_until))
        return (lease.item, lease.annotator, *times, lease.strategy)

    listed(found, as_json, heads, row)


@leases_app.command("renew")
def renew_leases(
    project: ProjectName,
    annotator: Annotator,
    items: Items = None,
    seconds: Annotated[int | None, typer.Option(help="From now; default: the project's.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Hold items for longer."""
    answer = run(url, key, lambda c: c.renew_leases(project, annotator, items or None, lease_seconds=seconds))
    lost = f" Not held any more: {', '.join(answer.expired)}." if answer.expired else ""
    show(answer, as_json, f"{annotator} holds on to {len(answer.leases)} items.{lost}")


@leases_app.command("release")
def release_leases(
    project: ProjectName,
    annotator: Annotator,
    items: Items = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give items back, for others to label."""
    answer = run(url, key, lambda c: c.release_leases(project, annotator, items or None))
    show(answer, as_json, f"{annotator} gave back {len(answer.released)} items.")
