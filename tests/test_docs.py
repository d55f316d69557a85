"""The docs speak of everything that exists, and what they show runs."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import httpx

from api_schemas.strategies import OPTIONS, StrategyName
from embedded.supervisor import Supervisor
from service.settings import ServiceSettings
from store.strategies import STRATEGIES as DESCRIBED
from worker.settings import WorkerSettings
from worker.strategies.choose import STRATEGIES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    for field in ServiceSettings.model_fields | WorkerSettings.model_fields:
        assert f"`{field.upper()}`" in text, field


def test_every_strategy_is_documented_and_runs() -> None:
    text = (ROOT / "docs/strategies.md").read_text()
    assert OPTIONS.keys() == STRATEGIES.keys() == set(get_args(StrategyName)) - {"auto"}
    for name in get_args(StrategyName):
        assert re.search(rf"^## .*\b{name}\b", text, re.MULTILINE), name


def test_costs_and_options_are_those_of_the_code() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/strategies.md").read_text(), flags=re.MULTILINE)
    for name, strategy in DESCRIBED.items():
        (section,) = (text for text in sections if re.match(rf"{name}:", text))
        assert f"Memory `{strategy.memory}`, time `{strategy.time}`" in section, name
    text = "".join(sections)
    for name, options in OPTIONS.items():
        assert not {field for field in options.model_fields if f"`{field}" not in text and f".{field}`" not in text}, (
            name
        )


def test_every_problem_is_documented() -> None:
    text = (ROOT / "docs/interface.md").read_text()
    raised = r'[A-Z]\w+Error\(\s*"([a-z_]+)"'
    codes = {code for page in (ROOT / "service").rglob("*.py") for code in re.findall(raised, page.read_text())}
    assert len(codes) > 25
    assert not {code for code in codes if f"`{code}`" not in text}


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), (page.name, target)


def test_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page.name, target)
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_the_examples_run() -> None:
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        with Supervisor(Path(folder), port=0) as service:

            def said(example: str) -> str:
                done = subprocess.run(
                    [sys.executable, ROOT / "docs/examples" / example],
                    env={**service.environment, "LOOKAHEAD_URL": service.url},
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, done.stderr
                return done.stdout

            assert said("own_data.py").count("looked like") == 10
            right = [float(share) for share in re.findall(r"([\d.]+)% of 169", said("only_vectors.py"))]
            scraped = httpx.get(f"{service.url}/metrics", trust_env=False).text
        for name in ("service", "worker-bulk", "worker-interactive"):
            lines = (Path(folder) / "logs" / f"{name}.log").read_text().splitlines()
            assert lines
            assert all({"timestamp", "level", "event", "process"} <= json.loads(line).keys() for line in lines), lines
            assert f'process="{name}-1"' in scraped
    asked = 'lookahead_job_seconds_count{kind="suggest",outcome="succeeded",process="worker-interactive-1"}'
    assert asked in scraped
    assert len(right) == 4
    assert right[-1] > 85
