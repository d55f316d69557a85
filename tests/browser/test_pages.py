"""The pages load, in any browser, with nothing from elsewhere."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site


@pytest.mark.parametrize("address", ["/", "/annotate?project=digits", "/docs"])
def test_pages_load_without_errors(site: Site, page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("h1, h2").first).to_be_visible()
