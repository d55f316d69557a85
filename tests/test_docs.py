"""The docs speak of everything that exists. That what they show runs is the business of tests/docs."""

import re
from pathlib import Path
from typing import get_args

from api_schemas.strategies import OPTIONS, StrategyName
from service.settings import ServiceSettings
from store.strategies import STRATEGIES as DESCRIBED
from worker.settings import WorkerSettings
from worker.strategies.choose import STRATEGIES

ROOT = Path(__file__).parent.parent
STRATEGY_PAGES = [ROOT / "docs/strategies.md", *sorted((ROOT / "docs/strategies").glob("*.md"))]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    for field in ServiceSettings.model_fields | WorkerSettings.model_fields:
        assert f"`{field.upper()}`" in text, field


def test_every_strategy_is_documented_and_runs() -> None:
    text = "\n".join(page.read_text() for page in STRATEGY_PAGES)
    assert OPTIONS.keys() == STRATEGIES.keys() == set(get_args(StrategyName)) - {"auto"}
    for name in get_args(StrategyName):
        assert re.search(rf"^## .*\b{name}\b", text, re.MULTILINE), name


def test_costs_and_options_are_those_of_the_code() -> None:
    pages = "\n".join(page.read_text() for page in STRATEGY_PAGES)
    sections = re.split(r"^## ", pages, flags=re.MULTILINE)
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


def _headings(page: Path) -> set[str]:
    """What a repository's view of the page can be linked to by: headings in lower case, with hyphens for spaces."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = [re.sub(r"[`*]|\]\([^)]*\)", "", title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    """In the repository's view; the site's are looked at when it is built."""
    links = 0
    for page in PAGES:
        for target, _, heading in re.findall(r"\]\(([^)#\s]*)(#([^)]+))?\)", page.read_text()):
            if target.startswith("http"):
                continue
            path = page.parent / target if target else page
            assert path.exists(), (page.name, target)
            assert not heading or heading in _headings(path), (page.name, target, heading)
            links += 1
    assert links > 200


def test_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page.name, target)
    assert "make test" in (ROOT / ".ci/run").read_text()
