"""Commands about API keys and the audit log, through the service."""

from itertools import islice
from typing import Annotated

import typer

from client.cli_common import AsJson, Key, Url, id_column, listed, run, show

key_app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="API keys, through the service (`lookahead keys`: in its database).",
)
Prefix = Annotated[str, typer.Argument(help="The key's prefix, as `key list` has it.")]


@key_app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Who it is for.")],
    scope: Annotated[list[str], typer.Option(help="What it may do: read, label, suggest, admin.")],
    project: Annotated[list[str] | None, typer.Option(help="The only projects that it sees.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    expires_days: Annotated[int | None, typer.Option(help="It ends after so many days.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once."""
    made = run(
        url,
        key,
        lambda c: c.create_key(
            name,
            scope,
            projects=project or None,
            requests_per_minute=requests_per_minute,
            expires_days=expires_days,
        ),
    )
    show(made, as_json, made.key)


@key_app.command("list")
def list_keys(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List keys, live or not."""
    found = run(url, key, lambda c: list(c.keys()))
    heads = (id_column("prefix"), "name", "state", "scopes", "projects", "expires")
    listed(
        found,
        as_json,
        heads,
        lambda k: (
            k.prefix,
            k.name,
            k.state,
            ", ".join(k.scopes),
            "all" if k.projects is None else ", ".join(k.projects),
            k.expires_at,
        ),
    )


@key_app.command("rotate")
def rotate_key(
    prefix: Prefix,
    grace_seconds: Annotated[int | None, typer.Option(help="How long the old one goes on; an hour.")] = None,
    expires_days: Annotated[int | None, typer.Option(help="Of the new one.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Put another key in a key's place. It is shown this once."""
    made = run(url, key, lambda c: c.rotate_key(prefix, grace_seconds=grace_seconds, expires_days=expires_days))
    show(made, as_json, made.key)


@key_app.command("revoke")
def revoke_key(prefix: Prefix, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """End a key."""
    ended = run(url, key, lambda c: c.revoke_key(prefix))
    show(ended, as_json, f"{ended.prefix} ({ended.name}) is {ended.state}.")


def audit(
    project: Annotated[str | None, typer.Option(help="Only this project's.")] = None,
    after: Annotated[int, typer.Option(help="Only entries past this id.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print who changed what, or was refused."""
    found = run(url, key, lambda c: list(islice(c.audit(project, after), limit)))
    heads = ("id", "at", "key", "request", "project", "status")
    listed(
        found,
        as_json,
        heads,
        lambda e: (e.id, f"{e.at:%Y-%m-%d %H:%M:%S}", e.key_prefix, f"{e.method} {e.path}", e.project, e.status),
    )
