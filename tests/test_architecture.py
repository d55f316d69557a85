"""The house rules, run as tests: imports, lint, types, formatting and the length of files."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
LINES_MAX = 330


@pytest.mark.parametrize(
    "command",
    [["lint-imports"], ["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=["imports", "lint", "format", "types"],
)
def test_tool_is_content(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_stay_short() -> None:
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    lengths = {
        name: len((ROOT / name).read_text().splitlines()) for name in tracked.stdout.split() if (ROOT / name).exists()
    }
    assert lengths, "git lists no Python file: run the tests in a checkout"
    assert not {name: n for name, n in lengths.items() if n > LINES_MAX}
