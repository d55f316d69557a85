"""Commands that are imported when they are called: a command line that answers at once, however much it can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer._completion_classes import completion_init
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from client.cli_routes import TYPED


@dataclass(frozen=True)
class Entry:
    """Where a command is, and what `--help` says of it."""

    place: str  # MODULE:NAME of a Typer application or of a function
    summary: str
    panel: str
    settings: Mapping[str, Any] | None = None  # of a function: what Typer's `command` takes

    def loaded(self, name: str) -> Any:
        """The command itself."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(name, **(self.settings or {}))(found)
            found = app
        command = get_command(found)
        command.name = name
        return command


COMMANDS: dict[str, Entry] = {}


class LazyCommands(TyperGroup):
    """The commands of COMMANDS."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        completion_init()  # teaches Typer its shells, which otherwise comes with options of its own
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, callback=None, help=entry.summary, rich_help_panel=entry.panel), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, imported now."""
        TYPED.set(tuple(args))
        name, _, rest = super().resolve_command(ctx, args)
        # While words are completed there may be none.
        return (None, None, rest) if name is None else (name, COMMANDS[name].loaded(name), rest)
