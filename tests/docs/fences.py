"""The fenced blocks of a page: what they are and what is to be done with them.

The words after the language say it: `output` (what the block before printed or answered), `no-run="reason"` (shown,
not run). Every block has a language; those of python and bash are run.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[\w-]*)(?P<words>[^\n`]*)\n", re.MULTILINE)
NO_RUN = re.compile(r'\bno-run="([^"]+)"')


@dataclass(frozen=True)
class Fence:
    """One fenced block of a page."""

    page: Path
    line: int  # of the fence itself, from 1
    language: str
    words: str
    text: str

    @property
    def reason(self) -> str | None:
        """Why it is not run, where it says so."""
        found = NO_RUN.search(self.words)
        return found[1] if found else None

    @property
    def is_output(self) -> bool:
        """Whether it shows what the block before it gave."""
        return "output" in NO_RUN.sub("", self.words).split()

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def fences(page: Path) -> list[Fence]:
    """The blocks of a page, from top to bottom. Raises ValueError for one that does not end."""
    text = page.read_text()
    found, place = [], 0
    while opening := FENCE.search(text, place):
        closing = re.compile(rf"^ *{opening['ticks']} *$", re.MULTILINE).search(text, opening.end())
        line = text.count("\n", 0, opening.start()) + 1
        if closing is None:
            raise ValueError(f"{page.name}:{line}: this block does not end")
        inside = dedent(text[opening.end() : closing.start()])
        found.append(Fence(page, line, opening["language"], opening["words"].strip(), inside))
        place = closing.end()
    return found
