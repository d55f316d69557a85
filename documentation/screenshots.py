"""The pictures of the pages in docs/img, made anew: `make screenshots`.

A deployment of its own with the sample project, which is labeled as a person would; the true classes are the labels.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sklearn.datasets import load_digits, load_wine

from client.sdk import Client
from embedded import sample
from embedded.supervisor import Supervisor

IMAGES = Path(__file__).parent.parent / "docs" / "img"
CHROMIUM = "/usr/bin/chromium"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "has_touch": True, "is_mobile": True}
ANNOTATOR = "ann"
BY_PROGRAM, BY_HAND = 22, 11
DIGITS = [str(digit) for digit in load_digits().target]


def main() -> None:
    """Make all pictures, in a minute or two."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--into", type=Path, default=IMAGES)
    folder: Path = parser.parse_args().into
    with tempfile.TemporaryDirectory(prefix="lookahead-") as place, sync_playwright() as playwright:
        Path(place).chmod(0o755)
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        with Supervisor(Path(place), port=0) as running, Client(running.url) as client:
            _projects(client)
            _label(client, BY_PROGRAM)
            client.wait_for(client.train(sample.NAME, "mlp", {"hidden": sample.HIDDEN}))
            _label(client, BY_PROGRAM)
            _labeling_pages(chromium, running.url, folder)
            _dashboard_pages(chromium, running.url, folder)
        chromium.close()


def _projects(client: Client) -> None:
    sample.make(client)
    wine = load_wine()
    ids = [f"bottle-{row}" for row in range(len(wine.data))]
    client.create_project("wines", list(wine.target_names))
    client.upload_pool("wines", ((wine.data - wine.data.mean(0)) / wine.data.std(0)).astype(np.float32), ids)
    client.labels("wines", [(ids[row], str(wine.target_names[wine.target[row]])) for row in range(0, len(ids), 15)])
    client.wait_for(client.train("wines", "mlp", {"hidden": [32]}))
    client.create_project("shells", ["cone", "spiral", "bivalve"])


def _label(client: Client, labels: int) -> None:
    for _ in range(labels):
        (item,) = client.suggest(sample.NAME, 1, annotator="sam").suggestions
        client.label(sample.NAME, item.item, _truth(item.item), annotator="sam")


def _truth(item: str) -> str:
    return DIGITS[int(item.removeprefix("digit-"))]


@contextmanager
def _page(chromium: Browser, url: str, **options: Any) -> Iterator[Page]:
    context = chromium.new_context(**{"base_url": url, "viewport": {"width": 1280, "height": 830}} | options)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def _labeling_pages(chromium: Browser, url: str, folder: Path) -> None:
    for scheme in ("light", "dark"):
        with _page(chromium, url, color_scheme=scheme) as page:
            _begin(page)
            for _ in range(BY_HAND):
                _say(page)
            page.wait_for_timeout(15_000)  # held-out accuracy follows the labels
            page.screenshot(path=folder / f"annotate-{scheme}.png")
    with _page(chromium, url, **PHONE) as page:
        _begin(page)
        _say(page)
        page.wait_for_timeout(2000)
        page.screenshot(path=folder / "annotate-phone.png")


def _begin(page: Page) -> None:
    page.goto(f"/annotate?project={sample.NAME}")
    page.get_by_label("Your name").fill(ANNOTATOR)
    page.keyboard.press("Enter")


def _say(page: Page) -> None:
    expect(page.locator(".stage")).to_have_attribute("aria-busy", "false", timeout=60_000)
    shown = page.locator(".stage .item")
    item = shown.get_attribute("data-item") or ""
    page.keyboard.press(_truth(item))
    expect(shown).not_to_have_attribute("data-item", item, timeout=60_000)


def _dashboard_pages(chromium: Browser, url: str, folder: Path) -> None:
    for scheme in ("light", "dark"):
        with _page(chromium, url, color_scheme=scheme) as page:
            _open(page, f"#/projects/{sample.NAME}")
            expect(page.locator(".suggestion .why img").first).to_be_visible(timeout=60_000)
            page.wait_for_timeout(2000)
            page.screenshot(path=folder / f"dashboard-project-{scheme}.png", full_page=True)
    with _page(chromium, url, **PHONE | {"device_scale_factor": 1}) as page:
        _open(page, f"#/projects/{sample.NAME}")
        page.screenshot(path=folder / "dashboard-project-phone.png")
    with _page(chromium, url) as page:
        for name in ("projects", "workers"):
            _open(page, "#/" if name == "projects" else f"#/{name}")
            page.screenshot(path=folder / f"dashboard-{name}-light.png")


def _open(page: Page, address: str) -> None:
    page.goto(f"/{address}")
    expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=60_000)
    page.wait_for_timeout(2000)


if __name__ == "__main__":
    main()
