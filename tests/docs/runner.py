"""Runs the blocks of a page, one after the other, against one deployment, as a reader would."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import embedded.cli  # noqa: F401 - adds its commands
from client import cli_common
from client.cli import app
from tests.docs.fences import Fence, fences
from tests.docs.shapes import output_differs

ROOT = Path(__file__).parent.parent.parent
URL = "http://127.0.0.1:8000"
LANGUAGES = {"python", "bash", "json", "text", "csv", "toml", "yaml", "nginx", "sql"}
# Large packages that only some networks need: their programs run where they are installed.
OPTIONAL = ("timm", "torchvision")
SECONDS_MAX = 60.0
# A line that is one command of ours, and one that does not take the process's place.
PLAIN = re.compile(r"lookahead (?!up\b|worker\b|migrate\b|keys\b|demo\b)(?:[^|<>&;$`'\"]|'[^']*')+")
COLUMNS = 160


class Page:
    """One page's run: a folder of its own, one Python session, one environment for its commands."""

    def __init__(self, path: Path, folder: Path, url: str, environment: Mapping[str, str]) -> None:
        self.path = path
        self._folder = folder
        self._url = url
        self._environment = {
            **environment,
            "LOOKAHEAD_URL": url,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": str(COLUMNS),
        }
        self._session: dict[str, Any] = {"__name__": "page"}
        self._said = ""
        cli_common.out.width = COLUMNS

    def failures(self) -> Iterator[str]:
        """What is wrong with the page, block by block; after a block that fails the rest is left."""
        for fence in fences(self.path):
            wrong = self._wrong(fence)
            if wrong:
                yield f"{fence}: {wrong}"
                if fence.language in ("python", "bash"):
                    return

    def _wrong(self, fence: Fence) -> str | None:
        if fence.language not in LANGUAGES:
            return f"name its language, one of {sorted(LANGUAGES)}"
        if fence.is_output:
            return output_differs(fence.language, fence.text, self._said)
        checks = {"python": self._python, "bash": self._bash, "json": self._json}
        check = checks.get(fence.language)
        return check(fence) if check else None

    def _json(self, fence: Fence) -> str | None:
        try:
            json.loads(fence.text)
        except json.JSONDecodeError as error:
            return str(error)
        return None

    def _python(self, fence: Fence) -> str | None:
        try:
            program = compile(self._here(fence.text), str(fence), "exec")
        except SyntaxError as error:
            return str(error)
        wanted = re.findall(rf"^(?:import|from) ({'|'.join(OPTIONAL)})\b", fence.text, re.MULTILINE)
        if fence.reason or any(importlib.util.find_spec(package) is None for package in wanted):
            return None
        printed = io.StringIO()
        try:
            with contextlib.chdir(self._folder), contextlib.redirect_stdout(printed):
                exec(program, self._session)
        except Exception:
            return traceback.format_exc()
        self._said = printed.getvalue()
        return None

    def _bash(self, fence: Fence) -> str | None:
        lines = self._here(fence.text).splitlines()
        if not fence.reason and all(PLAIN.fullmatch(line) for line in lines):
            return self._commands(lines)
        check = ["-n"] if fence.reason else []
        done = subprocess.run(
            ["bash", "-euo", "pipefail", *check, "-c", self._here(fence.text)],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
        )
        self._said = done.stdout
        return None if done.returncode == 0 else f"status {done.returncode}\n{done.stdout}{done.stderr}"

    def _commands(self, lines: list[str]) -> str | None:
        """Commands of ours with nothing of the shell's around them: in this process, which saves a second each."""
        self._said = ""
        with contextlib.chdir(self._folder):
            for line in lines:
                done = CliRunner().invoke(app, shlex.split(line)[1:], env=self._environment)
                self._said += done.stdout
                if done.exit_code:
                    return f"{line}: status {done.exit_code}\n{done.output}{done.exception or ''}"
        return None

    def _here(self, text: str) -> str:
        return text.replace("Client()", f'Client("{URL}")').replace(URL, self._url)
