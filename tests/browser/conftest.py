"""A real deployment with a small digits project, and pages of a real browser that fail the test on any error.

The browser's driver keeps an event loop in its thread: both end with this folder, before other tests want one.

Without Chromium or without the built pages these tests are skipped; LOOKAHEAD_BROWSER=required fails them instead.
"""

import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from client.sdk import Client
from demo import digits
from embedded.supervisor import Supervisor
from service.routes.pages import BUILT

CHROMIUM = Path(os.environ.get("LOOKAHEAD_CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 30  # for what takes milliseconds where nobody else computes
POOL, HELD_OUT, FIRST_LABELS = 200, 60, 20


@dataclass
class Site:
    """The deployment: where it answers, the SDK at it, and digits with their true classes by item."""

    url: str
    client: Client
    truth: dict[str, str]
    environment: dict[str, str]
    _data: digits.Digits
    _weights: bytes
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def project(self, name: str | None = None, *, checkpoint: bool = True, pool: int = POOL) -> str:
        """A digits project of its own: `pool` pictures of shape (1, 8, 8), held-out ones, labels, a checkpoint."""
        name = name or f"digits-{next(self._numbers)}"
        data, client = self._data, self.client
        client.create_project(name, digits.CLASSES)
        client.upload_pool(name, data.pool[:pool].reshape(-1, 1, 8, 8), data.pool_ids[:pool])
        held_out = data.held_out[:HELD_OUT].reshape(-1, 1, 8, 8)
        client.upload_pool(name, held_out, data.held_out_ids[:HELD_OUT], held_out=True)
        client.held_out_labels(name, [(item, self.truth[item]) for item in data.held_out_ids[:HELD_OUT]])
        if checkpoint:
            client.labels(name, [(data.pool_ids[row], self.truth[data.pool_ids[row]]) for row in data.initial])
            options = {"hidden": digits.HIDDEN}
            client.wait_for(client.upload_checkpoint(name, self._weights, "mlp", options, loss="squared"))
        return name


@pytest.fixture(scope="package")
def _browser_is_there() -> None:
    missing = None
    if not CHROMIUM.exists():
        missing = f"there is no {CHROMIUM}: make browser"
    elif not (BUILT / "index.html").exists():
        missing = "the pages are not built: make pages"
    if missing is not None:
        (pytest.fail if os.environ.get("LOOKAHEAD_BROWSER") == "required" else pytest.skip)(missing)


@pytest.fixture(scope="package")
def site(_browser_is_there: None) -> Iterator[Site]:
    """Everything that `lookahead up` runs, with the project `digits`."""
    data = digits.split(0, FIRST_LABELS)
    weights = digits.weights(digits.train(data, data.initial, 0, steps=100))
    ids, classes = data.pool_ids + data.held_out_ids, [*data.pool_classes, *data.held_out_classes]
    truth = dict(zip(ids, (digits.CLASSES[k] for k in classes), strict=True))
    assert set(data.initial) <= set(np.arange(POOL).tolist())
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        with Supervisor(Path(folder), port=0) as service, Client(service.url) as client:
            made = Site(service.url, client, truth, service.environment, data, weights)
            made.project("digits")
            yield made


@pytest.fixture(scope="package")
def browser(_browser_is_there: None) -> Iterator[Browser]:
    expect.set_options(timeout=1000 * SECONDS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def expected_errors() -> list[str]:
    """Patterns of console errors that a test brings about on purpose; empty unless it adds some."""
    return []


@pytest.fixture
def open_page(site: Site, browser: Browser, expected_errors: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens pages, each in a browser profile of its own; options as of Playwright's `new_context`."""
    host = urlsplit(site.url).netloc
    wrong: list[str] = []
    contexts = []

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(f"console: {message.text} ({message.location['url']})")

    def asked(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in {"http", "https", "ws", "wss"} and address.netloc != host:
            wrong.append(f"a request to another host: {request.url}")

    def opened(**options: Any) -> Page:
        context = browser.new_context(**{"base_url": site.url, "viewport": {"width": 1280, "height": 860}} | options)
        context.set_default_timeout(1000 * SECONDS)
        contexts.append(context)
        context.on("request", asked)
        context.on("console", said)
        context.on("weberror", lambda error: wrong.append(f"page: {error.error}"))
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()
    unexpected = [line for line in wrong if not any(re.search(pattern, line) for pattern in expected_errors)]
    assert not unexpected, "\n".join(unexpected)


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """A page of desktop size."""
    return open_page()


def serious_findings(page: Page) -> list[str]:
    """What axe finds on the page as it stands that keeps somebody from using it."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {one['help']} at {[node['target'] for node in one['nodes']]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
