"""Blocks, shapes and exceptions: what the run of the pages rests on."""

from pathlib import Path

import pytest

from tests.docs.fences import Fence, fences
from tests.docs.runner import LANGUAGES, PLAIN, ROOT, Page
from tests.docs.shapes import json_differs, output_differs, text_differs

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Blocks that are shown and not run. Raising the number takes a reason that a reader would accept.
NOT_RUN_MAX = 18


def _page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


def _run(tmp_path: Path, text: str) -> list[str]:
    return list(Page(_page(tmp_path, text), tmp_path, "http://127.0.0.1:1", {"PATH": "/usr/bin:/bin"}).failures())


def _all() -> list[Fence]:
    return [fence for page in PAGES for fence in fences(page)]


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    not_run = [fence for fence in _all() if "no-run" in fence.words]
    assert not [str(fence) for fence in not_run if len(fence.reason or "") < 10]
    assert len(not_run) <= NOT_RUN_MAX, [str(fence) for fence in not_run]


def test_every_block_of_the_docs_has_a_language() -> None:
    assert not [str(fence) for fence in _all() if fence.language not in LANGUAGES]


def test_an_output_follows_what_was_run() -> None:
    for page in PAGES:
        before: Fence | None = None
        for fence in fences(page):
            if fence.is_output:
                assert before is not None, str(fence)
                assert before.language in ("bash", "python"), str(fence)
                assert before.reason is None, str(fence)
            else:
                before = fence


def test_a_block_in_a_list_is_found(tmp_path: Path) -> None:
    page = _page(
        tmp_path, '1. first\n\n    ```python no-run="a reason"\n    a = 1\n    ```\n\n```json output\n{}\n```\n'
    )
    first, second = fences(page)
    assert (first.line, first.text, first.reason, first.is_output) == (3, "a = 1\n", "a reason", False)
    assert (second.line, second.language, second.is_output) == (7, "json", True)


def test_a_block_without_an_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"page\.md:2"):
        fences(_page(tmp_path, "text\n```python\na = 1\n"))


@pytest.mark.parametrize(
    "text",
    [
        "```python\n1 / 0\n```",
        "```python\nthis is no program\n```",
        '```python no-run="not run, and still read"\nthis is no program\n```',
        "```bash\nfalse\n```",
        "```bash\nfalse | cat\n```",
        '```bash no-run="not run, and still read"\nif\n```',
        "```bash\nlookahead no-such-command\n```",
        "```json\n{,}\n```",
        "```\nwhat is this\n```",
        "```python\nprint('yes')\n```\n```text output\nno\n```",
        '```bash\necho \'{"a": 1}\'\n```\n```json output\n{"b": 1}\n```',
    ],
)
def test_what_is_wrong_fails(tmp_path: Path, text: str) -> None:
    assert len(_run(tmp_path, text)) == 1


def test_what_is_right_passes(tmp_path: Path) -> None:
    page = "```python\nn = 3\n```\n```python\nprint(n, 'items')\n```\n```text output\n5 items\n```\n```json\n[]\n```"
    assert not _run(tmp_path, page)
    assert (ROOT / "docs/index.md").read_text().count("```python")  # what the rest of the tests is about


def test_commands_that_need_a_shell_get_one() -> None:
    assert PLAIN.fullmatch("lookahead create x --kernel '{\"kind\": 1}'")
    for line in ("lookahead suggest x | head", 'lookahead watch "$(cat job)"', "lookahead up", "echo lookahead"):
        assert not PLAIN.fullmatch(line)


def test_shapes_of_json() -> None:
    assert json_differs({"a": 1, "b": [{"c": "x"}]}, {"a": 2.5, "b": [{"c": "y", "d": 0}, {}], "e": 1}) is None
    assert "$.a" in str(json_differs({"a": 1}, {"a": "1"}))
    assert "$.b[0]" in str(json_differs({"b": [{"c": 1}]}, {"b": [{"d": 1}]}))
    assert json_differs({"a": None}, {"a": 1})
    assert json_differs({"a": True}, {"a": 1})
    assert json_differs([1], [])
    assert output_differs("json", "{}", "no json")


def test_shapes_of_text() -> None:
    printed = "bottle-5 is barolo (label 1 of wine).\n17 labeled, 3 skipped\n"
    assert text_differs("bottle-99 is barbera (label 12 of wine).\n...\n", printed) is None
    assert text_differs("17 labeled", printed)
    assert text_differs("17 skipped, 3 labeled", printed) is not None
