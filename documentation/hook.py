"""What the site has beyond the pages in docs/: references made from the code, pictures that know the theme.

mkdocs calls the functions by their names. The pages in docs/ stay readable in the repository: what only the site can
show stands in for a comment such as `<!-- generated: commands -->`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import lookahead
from documentation import http_reference, program_reference

ROOT = Path(__file__).parent.parent
HTTP_PAGE = "reference/http.md"
_GENERATED = re.compile(r"<!-- generated: (\w+) -->")
_FENCE = re.compile(r"^([ ]*```\w+)([ ]+[^\n`]+)$", re.MULTILINE)
_PICTURE = re.compile(r'<img alt="(?P<alt>[^"]*)" src="(?P<src>[^"]+\.svg)"\s*/?>')
_SEARCH = 'data-md-component="search" role="dialog"'
_OWN_COLOURS = re.compile(r"<style>.*?</style>\s*", re.DOTALL)


class _Document:
    """The OpenAPI schema, made once per build."""

    made: http_reference.Schema | None = None

    def __call__(self) -> http_reference.Schema:
        if self.made is None:
            self.made = http_reference.schema()
        return self.made


_document = _Document()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the groups of routes and the decisions into the navigation."""
    _document.made = None
    groups = [{http_reference.title(name): f"reference/http/{name}.md"} for name in http_reference.groups(_document())]
    config.nav = _expanded(config.nav or [], {HTTP_PAGE: [{"All routes": HTTP_PAGE}, *groups]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, from the decisions' titles and from the changelog."""
    for name in http_reference.groups(_document()):
        text = http_reference.page(_document(), name)
        files.append(File.generated(config, f"reference/http/{name}.md", content=text))
    files.append(File.generated(config, "decisions/index.md", content=decisions(Path(config.docs_dir) / "decisions")))
    changes = (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "changes.md", content=changes))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and take from the fences what is meant for the tests."""
    markdown = _GENERATED.sub(lambda found: generated(found[1]), markdown)
    return _FENCE.sub(lambda found: found[1] + fence_title(found[2]), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write vector pictures of ours into the page, where they take the theme's colours."""

    def inline(found: re.Match[str]) -> str:
        path = (Path(config.site_dir) / page.url / found["src"]).resolve().relative_to(Path(config.site_dir).resolve())
        source = Path(config.docs_dir) / path
        drawing = _OWN_COLOURS.sub("", source.read_text()).strip()
        named = drawing.replace("<svg ", f'<svg role="img" aria-label="{found["alt"]}" ', 1)
        return f'<div class="lh-wide">{named}</div>'

    return _PICTURE.sub(inline, html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Give the search dialog the name that its theme leaves out, for those who hear the page."""
    return output.replace(_SEARCH, f'{_SEARCH} aria-label="Search"')


def generated(name: str) -> str:
    """The text that stands in for a `generated` comment."""
    makers: dict[str, Callable[[], str]] = {
        "http": lambda: http_reference.index(_document()),
        "commands": program_reference.commands,
        "sdk": lambda: program_reference.methods(lookahead.Client),
        "functions": lambda: program_reference.functions(lookahead),
        "errors": lambda: program_reference.errors(lookahead),
    }
    return makers[name]()


def decisions(folder: Path) -> str:
    """The list of decision records."""
    lines = ["# Decisions\n", "What was decided, why, and what else was thought of. Numbers are by time.\n"]
    for path in sorted(folder.glob("[0-9]*.md")):
        heading = path.read_text().splitlines()[0].lstrip("# ")
        lines.append(f"- [{heading}]({path.name})")
    return "\n".join(lines) + "\n"


def fence_title(words: str) -> str:
    """What the site shows of a fence's further words: the answers of commands have a title."""
    return ' title="answer"' if "output" in re.sub(r'"[^"]*"', "", words).split() else ""


def _expanded(nav: list[Any], pages: dict[str, list[Any]]) -> list[Any]:
    def one(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {
                name: pages.get(value, value) if isinstance(value, str) else [one(part) for part in value]
                for name, value in entry.items()
            }
        return entry

    return [one(entry) for entry in nav]
