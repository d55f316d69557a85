"""What the service says, in a command line's words: commands beside routes, and the word that was meant."""

import re
from contextvars import ContextVar
from difflib import get_close_matches

TYPED: ContextVar[tuple[str, ...]] = ContextVar("TYPED", default=())  # the words of this command

_COMMANDS = [
    (r"POST /projects/([^/\s]+)/pool", "pool add {} PATH"),
    (r"/projects/([^/\s]+)/train\b", "train {}"),
    (r"POST /projects/([^/\s]+)/checkpoints", "checkpoint add {} FILE"),
    (r"POST /projects/([^/\s]+)/classes", "project classes add {} CLASS"),
    (r"GET /projects/([^/\s]+)/contents", "items contents {} ITEM"),
    (r"GET /projects\b(?!/)", "project list"),
    (r"POST /labels\b", "labels import PROJECT FILE"),
    (r"POST /label\b", "label PROJECT ITEM CLASS"),
    (r"GET /jobs\b", "jobs list"),
    (r"GET /label-studio\b", "label-studio list"),
    (r"GET /keys\b", "key list"),
    (r"POST /keys\b", "key create"),
]


def commands_for(text: str) -> list[str]:
    """The commands that do what the routes in a sentence do, each between backquotes."""
    found = []
    for route, command in _COMMANDS:
        if match := re.search(route, text):
            name = match.group(1) if match.groups() else ""
            found.append(f"`lookahead {command.format('PROJECT' if name == '{name}' else name)}`")
    return found


def with_commands(text: str) -> str:
    """A sentence with the commands beside the routes that it names."""
    commands = commands_for(text)
    return f"{text} On the command line: {' or '.join(commands)}." if commands else text


def meant(refusal: str) -> str | None:
    """The nearest of the words that would be right to one that was typed."""
    right = re.findall(r"'([^']+)'", refusal.partition("should be ")[2])
    typed = [word.rpartition("=")[2] for word in TYPED.get()]
    near = [found for word in typed if word not in right for found in get_close_matches(word, right, 1, 0.8)]
    return f"Did you mean {near[0]!r}?" if near else None
