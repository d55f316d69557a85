"""The notebook of the docs, cell by cell, and that it is as short as it says."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedded.supervisor import Supervisor

NOTEBOOK = Path(__file__).parents[2] / "docs" / "examples" / "notebook.ipynb"


def test_the_notebook(running: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKAHEAD_URL", running.url)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    names: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert names["project"].labels == 40
    assert names["accuracy"] > 0.5
    names["client"].close()
