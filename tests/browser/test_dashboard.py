"""The dashboard in a real browser: what it shows, that it moves by itself, and that everybody can use it."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Site, serious_findings

PAGES = {"#/": "Projects", "#/projects/digits": "digits", "#/jobs": "Jobs", "#/workers": "Workers"}
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 320, "height": 640}, "color_scheme": "light"},
}


def settled(page: Page, address: str) -> None:
    """Waits until a page shows what it is about."""
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[address])
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    if address == "#/projects/digits":
        expect(page.locator(".suggestion .why img").first).to_be_visible()
        expect(page.get_by_role("img", name=re.compile("eigenvalues"))).to_be_visible()
    elif address == "#/":
        expect(page.get_by_role("link", name="digits", exact=True)).to_be_visible()
    elif address == "#/jobs":
        expect(page.get_by_role("table", name="Jobs that have ended").get_by_role("row").nth(1)).to_be_visible()
    else:
        expect(page.get_by_role("table", name="Queues")).to_be_visible()


@pytest.mark.parametrize("view", VIEWS)
def test_everybody_can_use_every_page(site: Site, open_page: Callable[..., Page], view: str) -> None:
    page = open_page(**VIEWS[view])
    for address in PAGES:
        page.goto(f"/{address}")
        settled(page, address)
        found = Axe().run(page).response["violations"]
        grave = [
            (one["id"], [n["html"] for n in one["nodes"]]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert not grave, f"{address} {view}: {grave}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} scrolls sideways"


def test_suggestions_are_pictures_with_a_score_and_a_reason(site: Site, page: Page) -> None:
    page.goto("/#/projects/digits")
    cards = page.locator(".suggestion")
    expect(cards).to_have_count(6)
    first = cards.first
    expect(first.get_by_role("heading")).to_have_text(re.compile(r"1\.\s+digit-\d+"))
    expect(first).to_contain_text(re.compile(r"probably \d \d+ %"))
    expect(first).to_contain_text(re.compile(r"score \d"))
    for place, number in ((".seen img", 1), (".why img", 4)):
        expect(first.locator(place)).to_have_count(number)
        for picture in first.locator(place).all():
            expect(picture).not_to_have_js_property("naturalWidth", 0)
    moved = [float(words.removeprefix("by ")) for words in first.locator(".why li .figures").all_text_contents()]
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] > 0
    page.get_by_role("button", name="Show 6 more").click()
    expect(cards).to_have_count(12)
    # A look takes nothing from anybody.
    assert site.client.project("digits").open_suggestions == 0


def test_charts_have_words_and_numbers(site: Site, page: Page) -> None:
    item = site.client.suggest("digits").suggestions[0].item
    time.sleep(1)  # so that labels have come in two spans of time
    site.client.label("digits", item, site.truth[item])
    page.goto("/#/projects/digits")
    curve = page.get_by_role("figure", name="Learning curve")
    expect(
        curve.get_by_role("img", name=re.compile(r"After [2-9]\d labels leave-one-out accuracy is \d+ %"))
    ).to_be_visible()
    expect(curve).to_contain_text("flatters")
    for title in ("Class balance", "Drift", "Label arrivals", "Scores of all candidates", "Kernel spectrum"):
        figure = page.get_by_role("figure", name=title)
        expect(figure.locator("svg")).to_be_visible()
        figure.locator("summary").click()
        expect(figure.get_by_role("row").nth(2)).to_be_visible()


def labeled(page: Page) -> Locator:
    return page.locator(".standing .panel").filter(has_text="Labeled").locator("dd")


def test_a_label_from_elsewhere_shows_by_itself(site: Site, page: Page) -> None:
    labels = site.client.project("digits").labels
    page.goto("/#/projects/digits")
    expect(labeled(page)).to_have_text(f"{labels} of 200")
    heading = page.locator(".suggestion h3").first
    expect(heading).to_contain_text("digit-")
    suggested = heading.inner_text().split()[-1]
    page.evaluate("window.stayed = true")
    site.client.label("digits", suggested, site.truth[suggested])
    expect(labeled(page)).to_have_text(f"{labels + 1} of 200")
    expect(page.locator(".suggestion").filter(has=page.get_by_text(suggested, exact=True))).to_have_count(0)
    assert page.evaluate("window.stayed")


@pytest.fixture
def long_training(site: Site) -> Iterator[tuple[str, str]]:
    """A project and the id of a training in it that takes an hour unless it is cancelled."""
    name = site.project(pool=120)
    job = site.client.train(name, epochs=10_000, batch_size=1)
    yield name, job.id
    if site.client.job(job.id).status in ("queued", "running"):
        site.client.cancel(job.id)


def test_a_job_is_followed_and_cancelled(site: Site, page: Page, long_training: tuple[str, str]) -> None:
    name, job_id = long_training
    page.goto("/#/jobs")
    row = page.get_by_role("table", name="Jobs that run or wait").get_by_role("row").filter(has_text=name)
    steps = re.compile(r"[1-9][\d,]* of [\d,]+ steps")
    expect(row).to_contain_text(steps)
    expect(row.get_by_role("progressbar")).to_be_visible()
    before = steps.search(row.inner_text())
    assert before
    expect(row).not_to_contain_text(before[0])
    expect(row).to_contain_text(re.compile(r"\d (s|min|h|d)\b.* left"))

    row.get_by_role("button", name=f"Cancel Training for {name}").press("Enter")
    dialog = page.get_by_role("dialog", name="Cancel training?")
    expect(dialog).to_contain_text(name)
    dialog.press("Escape")
    expect(dialog).to_be_hidden()
    assert site.client.job(job_id).status == "running"
    row.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel this job").click()
    ended = page.get_by_role("table", name="Jobs that have ended").get_by_role("row").filter(has_text=name)
    expect(ended.first).to_contain_text("cancelled")
    assert site.client.job(job_id).status == "cancelled"


def test_training_is_asked_for_here(site: Site, page: Page) -> None:
    name = site.project(checkpoint=False, pool=120)
    page.goto(f"/#/projects/{name}")
    page.get_by_role("button", name="Train a network").click()
    page.get_by_role("dialog", name="Train without labels?").get_by_role("button", name="Train").click()
    expect(page.get_by_role("button", name="Train anew")).to_be_visible()
    expect(page.locator(".suggestion")).to_have_count(6)


def refused(page: Page, path: str, status: int, code: str, detail: str) -> None:
    def answer(route: Route) -> None:
        body = {"status": status, "code": code, "detail": detail, "title": code, "type": "about:blank"}
        route.fulfill(status=status, body=json.dumps(body), content_type="application/problem+json")

    page.route(path, answer)


def test_a_key_is_asked_for_and_used(site: Site, page: Page, expected_errors: list[str]) -> None:
    expected_errors.append(r"the server responded with a status of 40[13]")
    refused(page, "**/projects?*", 401, "unauthorized", "a key is needed")
    refused(page, "**/events", 401, "unauthorized", "a key is needed")
    page.goto("/")
    field = page.get_by_label("Key", exact=True)
    expect(page.get_by_text("Not live")).to_be_visible()
    page.unroute_all()
    field.fill("lk_of-mine")
    with page.expect_request("**/projects?*") as asked:
        field.press("Enter")
    assert asked.value.headers["authorization"] == "Bearer lk_of-mine"
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="digits", exact=True)).to_be_visible()
    refused(page, "**/workers", 403, "forbidden", "this key lacks the scope ‘read’")
    refused(page, "**/events", 403, "forbidden", "this key lacks the scope ‘read’")
    page.goto("/#/workers")
    page.reload()
    expect(page.locator(".notice")).to_contain_text("this key lacks the scope ‘read’")


def test_a_lost_connection_is_told_and_mended(site: Site, page: Page, expected_errors: list[str]) -> None:
    expected_errors.append("net::ERR_")
    page.route("**/events", lambda route: route.abort())
    page.goto("/")
    expect(page.get_by_text("Reconnecting")).to_be_visible()
    page.unroute_all()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_nothing_there_yet(site: Site, page: Page) -> None:
    page.route("**/projects?*", lambda route: route.fulfill(json={"projects": [], "next": None}))
    page.goto("/")
    expect(page.get_by_text("lookahead pool add pets pictures/ --create")).to_be_visible()
    page.get_by_role("link", name="labeling page").click()
    expect(page).to_have_url(f"{site.url}/annotate")


def test_with_the_keyboard_alone_and_in_the_chosen_colours(site: Site, page: Page) -> None:
    page.goto("/")
    settled(page, "#/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.get_by_role("link", name="Workers").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
    expect(page.get_by_role("main")).to_be_focused()
    assert page.title() == "Workers · Lookahead"
    page.get_by_label("Colours").select_option("dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 24)"


def test_a_project_is_deleted_where_its_name_is_typed(
    site: Site, open_page: Callable[..., Page], expected_errors: list[str]
) -> None:
    name = site.project(checkpoint=False, pool=20)
    page, labeling, looking = open_page(), open_page(), open_page()
    labeling.goto(f"/annotate?project={name}")
    labeling.get_by_label("Your name").fill("ann")
    labeling.get_by_role("button", name="Begin").click()
    expect(labeling.get_by_role("button", name="Skip").first).to_be_enabled()
    looking.goto(f"/#/projects/{name}")
    page.goto(f"/#/projects/{name}")
    page.get_by_role("button", name="Delete this project").press("Enter")
    dialog = page.get_by_role("dialog", name=f"Delete {name}?")
    expect(dialog).to_contain_text("80 items")
    yes = dialog.get_by_role("button", name="Delete this project")
    expect(yes).to_be_disabled()
    assert serious_findings(page) == []
    dialog.get_by_role("textbox").fill("digits")
    expect(yes).to_be_disabled()
    dialog.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Delete this project").click()
    dialog.get_by_role("textbox").fill(name)
    dialog.get_by_role("textbox").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Projects")
    expect(page.get_by_role("link", name="digits", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    assert name not in [project.name for project in site.client.projects()]

    expected_errors.append("the server responded with a status of 404")
    looking.reload()
    expect(looking.get_by_text("There is no such project.")).to_be_visible()
    labeling.keyboard.press("1")
    expect(labeling.get_by_text("This project is gone.")).to_be_visible()
    expect(labeling.get_by_role("link", name="Choose another project")).to_be_visible()
