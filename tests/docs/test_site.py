"""The documentation site: it builds without a warning, and its pages ask nothing of other hosts."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from documentation import hook, http_reference, program_reference
from lookahead import Client

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Fetched(HTMLParser):
    """What a browser fetches by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        names = ("src", "srcset", "data", "poster")
        self.found += [given[name] or "" for name in names if name in given]
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(given.get("href") or "")


def test_every_page_is_there_and_asks_nothing_of_other_hosts(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        parser = _Fetched()
        parser.feed(page.read_text())
        assert parser.found
        assert not [address for address in parser.found if re.match(r"(https?:)?//", address)], page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", sheet.read_text()), sheet


def test_search_knows_the_pages(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text())
    text = " ".join(entry["text"] for entry in index["docs"])
    for word in ("look-ahead", "event_id", "LOOKAHEAD_DEVICE", "upload_pool"):
        assert word in text


def test_every_route_has_its_place(site: Path) -> None:
    document = http_reference.schema()
    index = (site / "reference/http/index.html").read_text()
    for name, routes in http_reference.groups(document).items():
        page = (site / f"reference/http/{name}/index.html").read_text()
        for method, path, operation in routes:
            assert f'id="{http_reference.anchor(method, path)}"' in page
            assert f"{method} {path}" in index
            for parameter in operation.get("parameters", []):
                assert f"<code>{http_reference.parameter_name(parameter)}</code>" in page
    assert "<code>suggestions[].why[].change</code>" in (site / "reference/http/suggestions/index.html").read_text()


def test_every_method_and_command_has_its_place(site: Path) -> None:
    methods = (site / "reference/python/index.html").read_text()
    public = [name for name in dir(Client) if not name.startswith("_") and callable(getattr(Client, name))]
    assert len(public) > 30
    assert not [name for name in public if f'id="{name}"' not in methods]
    assert 'id="save_checkpoint"' in methods
    assert "<code>JobFailedError</code>" in methods
    commands = (site / "reference/command-line/index.html").read_text()
    for command in ("up", "backup", "project create", "labels import", "jobs list"):
        assert f"lookahead {command}" in commands


def test_the_picture_takes_the_colours_of_the_page(site: Path) -> None:
    page = (site / "architecture/index.html").read_text()
    (drawing,) = re.findall(r"<svg role=.*?</svg>", page, re.DOTALL)
    assert "aria-label" in drawing
    assert "prefers-color-scheme" not in drawing
    assert "prefers-color-scheme" in (ROOT / "docs/img/data-flow.svg").read_text()
    used = set(re.findall(r"var\((--lh-[a-z]+)\)", drawing))
    sheet = (ROOT / "docs/assets/site.css").read_text()
    assert used
    assert all(sheet.count(f"{name}:") == 2 for name in used)


def test_signatures_are_readable() -> None:
    def make(self: object, name: str, *, rule: str | None = None, parts: "dict[str, int]" = {}) -> Path:  # noqa: B006
        return Path(name)

    assert program_reference.signature("make", make) == (
        "make(name: str, *, rule: str | None = None, parts: dict[str, int] = {}) -> Path"
    )


def test_words_for_the_tests_do_not_reach_the_site() -> None:
    assert hook.fence_title(' no-run="needs output"') == ""
    assert hook.fence_title(" output") == ' title="answer"'
