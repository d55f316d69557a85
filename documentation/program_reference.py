"""The command line and the SDK as pages, from the program itself: options from typer, methods from docstrings."""

import html
import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import typer
from typer.cli import get_docs_for_click

import embedded.cli  # noqa: F401 - adds its commands
from client.cli import app

WIDTH = 100
_MODULES = re.compile(r"\b(?:[a-z_]+\.)+(?=[A-Z])")


def commands() -> str:
    """Every command with its arguments and options, as typer writes them."""
    program: Any = typer.main.get_command(app)
    context: Any = typer.Context(program, info_name="lookahead", obj={})
    for name in program.list_commands(context):
        # A command that is imported only when it is called is there from now on.
        program.add_command(program.resolve_command(context, [name])[1], name)
    text = html.unescape(get_docs_for_click(obj=program, ctx=context, name="lookahead"))
    body = text.split("\n", 1)[1]  # the page has a title of its own
    body = re.sub(r"^\* `(?:-h, )?--help`: Show this message and exit\.\n", "", body, flags=re.MULTILINE)
    body = re.sub(r"\*\*Options\*\*:\n\n(?=\n|#|\Z)", "", body)
    # A bare <name> in a description is no HTML.
    return re.sub(r"(?<!`)<(\w+)>(?!`)", r"`<\1>`", body).strip() + "\n"


def methods(client: type[Any]) -> str:
    """The public methods of a client, by the class that brings them, with signature and docstring."""
    parts = []
    for kind in client.__mro__:
        found = [(name, member) for name, member in vars(kind).items() if _shown(name, member)]
        if kind is object or not found:
            continue
        about = inspect.getdoc(kind) or kind.__name__
        parts.append(f"## {about.splitlines()[0].split('. ')[0].rstrip('.')}\n")
        parts += [text for name, member in found for text in function(name, member)]
    return "\n".join(parts)


def functions(package: ModuleType) -> str:
    """The functions that a package offers."""
    found = {name: getattr(package, name) for name in package.__all__}
    return "\n".join(
        text for name, member in found.items() if inspect.isfunction(member) for text in function(name, member)
    )


def errors(package: ModuleType) -> str:
    """The errors that a package offers, as a table."""
    found = {name: getattr(package, name) for name in package.__all__}
    kinds = {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Exception)}
    rows = [f"| `{name}` | {(inspect.getdoc(kind) or '').splitlines()[0]} |" for name, kind in kinds.items()]
    return "\n".join(["| error | |", "|---|---|", *rows])


def function(name: str, member: Callable[..., Any], level: int = 3) -> Iterator[str]:
    """One function: heading, signature, docstring."""
    yield f"{'#' * level} `{name}` {{ #{name} }}\n"
    yield f"```python\n{signature(name, member)}\n```\n"
    yield f"{inspect.getdoc(member) or ''}\n"


def signature(name: str, member: Callable[..., Any]) -> str:
    """How it is called, without the modules of the types; over several lines where one is too long."""
    found = inspect.signature(member)
    kept = [one for one in found.parameters.values() if one.name != "self"]
    shown = found.replace(parameters=kept)
    prefix = "async " if inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member) else ""
    line = f"{prefix}{name}{_MODULES.sub('', str(shown))}".replace("'", '"')
    line = re.sub(r'(?<=[:>] )"([^"=]+)"', r"\1", line)  # annotations kept as text
    if len(line) <= WIDTH:
        return line
    head, rest = line.split("(", 1)
    inside, tail = rest.rsplit(")", 1)
    return f"{head}(\n" + "".join(f"    {part},\n" for part in _split(inside)) + f"){tail}"


def _split(inside: str) -> list[str]:
    """Parameters, at the commas that are in no bracket."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(inside):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append(inside[start:place].strip())
            start = place + 1
    return [*parts, inside[start:].strip()]


def _shown(name: str, member: object) -> bool:
    return inspect.isfunction(member) and not name.startswith("_")
