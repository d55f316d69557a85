"""The labeling page without a connection, and once there is one again."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from embedded.process import wait_until
from tests.browser.conftest import Site
from tests.browser.test_annotate import begin, held_by, next_item, said_by, settled, spares_came


@pytest.fixture(scope="module")
def project(site: Site) -> str:
    """A project of these tests; each labels under a name of its own."""
    return site.project("connection", pool=80)


def test_a_lost_connection_loses_and_doubles_nothing(
    site: Site, page: Page, project: str, expected_errors: list[str]
) -> None:
    expected_errors.append("Failed to load resource: net::ERR_")
    answers: list[int] = []

    def heard_and_not_answered(route: Route) -> None:
        answers.append(route.fetch().status)  # the service has it, and the page does not know
        route.abort() if len(answers) == 1 else route.continue_()

    begin(page, project, "cora")
    first = settled(page)
    page.route("**/label", heard_and_not_answered)
    page.keyboard.press("4")
    second = next_item(page, first)
    expect(page.locator("[data-part=kept]")).to_have_text("All saved")
    assert answers[0] < 300
    assert len(answers) >= 2
    page.unroute("**/label")
    # Spares for such a case are held, and their pictures fetched, while the person looks at an item.
    assert wait_until(
        lambda: len([lease for lease in site.client.leases(project) if lease.annotator == "cora"]) > 2, 30
    )
    page.wait_for_timeout(300)
    page.context.set_offline(True)
    page.keyboard.press("5")
    third = next_item(page, second)
    expect(page.locator(".stage .item img")).to_have_js_property("complete", True)
    expect(page.locator(".stage .item img")).not_to_have_js_property("naturalWidth", 0)
    expect(page.locator("[data-part=kept]")).to_have_text("Offline · 1 label kept")
    expect(page.locator(".work")).to_contain_text("nothing is lost, nothing counts twice")
    # One label or, where spares took long to come, both.
    expect(page.locator("[data-part=fresh]")).to_have_text(re.compile("Chosen before your last (label|2 labels)."))
    page.keyboard.press("6")
    expect(page.locator("[data-part=kept]")).to_have_text("Offline · 2 labels kept")
    page.context.set_offline(False)
    expect(page.locator("[data-part=kept]")).to_have_text("All saved")
    # A page that is closed before it could send: the next one does.
    last = next_item(page, third)
    page.context.set_offline(True)
    page.keyboard.press("7")
    expect(page.locator(".history [data-state=waiting]")).to_have_count(1)
    page.close()
    page.context.set_offline(False)
    again = page.context.new_page()
    again.goto(f"/annotate?project={project}")
    expect(again.locator(".work")).to_contain_text("1 from before could not be sent")
    settled(again)
    assert said_by(site, project, "cora") == [(first, "4"), (second, "5"), (third, "6"), (last, "7")]


def test_the_next_items_are_held_again_after_a_failure(
    site: Site, page: Page, project: str, expected_errors: list[str]
) -> None:
    expected_errors += ["Failed to load resource: net::ERR_", "the server responded with a status of 503"]
    kept = page.locator("[data-part=kept]")
    begin(page, project, "kim")
    spares_came(site, page, project, "kim")
    # The answer to a label is lost, once: a spare is shown meanwhile, and another is held in its place.
    page.route("**/label", lambda route: route.abort(), times=1)
    first = settled(page)
    page.keyboard.press("1")
    second = next_item(page, first)
    expect(kept).to_have_text("All saved")
    assert wait_until(lambda: held_by(site, project, "kim") >= 3, 30)
    # Labels arrive while nothing chooses items: once something does, the page knows without being asked.
    asked: list[str] = []

    def nobody_chooses(route: Route) -> None:
        asked.append(route.request.url)
        problem = {"title": "t", "status": 503, "code": "unavailable", "detail": "nobody chooses"}
        route.fulfill(status=503, json=problem, content_type="application/problem+json")

    def tries(count: int) -> bool:
        page.wait_for_timeout(20)  # the handler above runs meanwhile
        return len(asked) >= count

    page.route("**/suggest", nobody_chooses)
    page.keyboard.press("2")
    third = next_item(page, second)
    expect(kept).to_have_text("Offline")
    assert wait_until(lambda: tries(2), 30)  # without a key pressed
    page.unroute("**/suggest")
    expect(kept).to_have_text("All saved")
    assert settled(page) == third
    assert wait_until(lambda: held_by(site, project, "kim") >= 3, 30)
    # The wait between two tries grows, and an event that says the network is there cuts it short.
    page.route("**/suggest", nobody_chooses)
    asked.clear()
    page.keyboard.press("3")
    next_item(page, third)
    assert wait_until(lambda: tries(4), 15)  # the next try: in 4 seconds
    page.unroute("**/suggest")
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(kept).to_have_text("All saved", timeout=2500)
    assert said_by(site, project, "kim") == [(first, "1"), (second, "2"), (third, "3")]
