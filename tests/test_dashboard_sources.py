"""The sources of the pages: types that fit the interface as it is, the tests of their logic, files that stay short."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_architecture import LINES_MAX

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "dashboard"


@pytest.fixture(scope="module")
def _tools() -> None:
    if shutil.which("npm") is None or not (SOURCES / "node_modules").is_dir():
        pytest.skip("no npm or no dashboard/node_modules: make pages")


@pytest.fixture(scope="module")
def _types(_tools: None) -> None:
    """The types of the interface's answers, made of its schema as of now."""
    schema = subprocess.run([sys.executable, "-m", "service.openapi"], cwd=ROOT, capture_output=True, check=True)
    assert json.loads(schema.stdout)["paths"]
    (SOURCES / "openapi.json").write_bytes(schema.stdout)
    run("types")


def run(script: str) -> None:
    done = subprocess.run(["npm", "run", "--silent", script], cwd=SOURCES, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("_types")
def test_pages_read_answers_as_they_are() -> None:
    run("check")


@pytest.mark.usefixtures("_tools")
def test_logic_of_the_pages() -> None:
    run("test")


def test_files_of_the_pages_stay_short() -> None:
    found = [*SOURCES.glob("src/**/*.ts"), *SOURCES.glob("src/**/*.tsx"), *SOURCES.glob("src/**/*.css")]
    lengths = {str(name): len(name.read_text().splitlines()) for name in found if name.name != "schema.d.ts"}
    assert lengths
    assert not {name: n for name, n in lengths.items() if n > LINES_MAX}
