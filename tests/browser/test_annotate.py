"""The labeling page, as people use it: with keys, with thumbs, alone and together, with and without a connection."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from api_schemas.projects import CurvePoint
from embedded.process import wait_until
from tests.browser.conftest import Site, serious_findings

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
THUMB = 44


@pytest.fixture(scope="module")
def project(site: Site) -> str:
    """A project of these tests; each labels under a name of its own."""
    return site.project("annotate", pool=160)


def begin(page: Page, project: str, name: str) -> None:
    """Come to the page for the first time, and give a name."""
    page.goto(f"/annotate?project={project}")
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")
    settled(page)


def settled(page: Page) -> str:
    """The item that waits for a label."""
    expect(page.locator(".stage")).to_have_attribute("aria-busy", "false")
    item = page.locator(".stage .item").get_attribute("data-item")
    assert item is not None
    return item


def next_item(page: Page, before: str) -> str:
    expect(page.locator(".stage .item")).not_to_have_attribute("data-item", before)
    return settled(page)


def said_by(site: Site, project: str, name: str) -> list[tuple[str, str | None]]:
    """What the log has of somebody: items, with their class, or None for a skip or what was taken back."""
    return [(event.item, event.label) for event in site.client.label_log(project, annotator=name)]


def held_by(site: Site, project: str, name: str) -> int:
    return [lease.annotator for lease in site.client.leases(project)].count(name)


def spares_came(site: Site, page: Page, project: str, name: str) -> None:
    """Two more items are held, and their pictures fetched, while the person looks at one."""
    assert wait_until(lambda: held_by(site, project, name) >= 3, 30)
    page.wait_for_timeout(300)


def newest(site: Site, project: str) -> CurvePoint:
    return list(site.client.curve(project))[-1]


def test_ten_digits_with_the_keyboard_only(site: Site, page: Page, project: str) -> None:
    before = site.client.project(project).labels
    page.goto(f"/annotate?project={project}")
    page.keyboard.type("ann")  # the field has the focus
    page.keyboard.press("Enter")
    item, given = settled(page), []
    status, model = page.get_by_role("status").last, page.locator(".model")
    expect(page.locator("[data-part=guess]")).to_contain_text("sure")
    expect(page.locator(".class[aria-pressed=true]")).to_have_count(0)  # a guess is no choice
    expect(page.locator("[data-part=sample] .seen")).to_have_count(40)
    figures = []
    for _ in range(10):
        given.append((item, site.truth[item]))
        page.keyboard.press(site.truth[item])
        item = next_item(page, item)
        expect(status).to_contain_text(f"Next: {item}")
        figures.append(model.locator("[data-part=effect]").inner_text())
    assert said_by(site, project, "ann") == given
    expect(page.locator("[data-part=progress]")).to_have_text(f"{before + 10} of 160 labeled · 10 by you")
    expect(page.locator("[data-part=kept]")).to_have_text("All saved")
    expect(page.locator(".history .entry")).to_have_count(10)
    expect(page.locator(".why li img")).to_have_count(5)
    assert len(set(figures)) > 2  # the model is seen to change
    assert "changed" in figures[-1]
    expect(model.get_by_role("img", name=f"to {before + 10} labels")).to_be_visible()
    assert wait_until(lambda: newest(site, project).held_out_accuracy is not None, 30)  # worked out in the background
    now = newest(site, project)
    for part, accuracy in (("loo", now.leave_one_out_accuracy), ("held-out", now.held_out_accuracy)):
        assert accuracy is not None
        expect(model.locator(f"[data-part={part}] .value")).to_contain_text(f"{100 * accuracy:.1f} %")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("skip, for you only")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_was_said_is_skipped_undone_and_corrected(site: Site, page: Page, project: str) -> None:
    begin(page, project, "ben")
    own = settled(page)
    page.keyboard.press("s")
    for_all = next_item(page, own)
    page.keyboard.press("Shift+S")
    wrong = next_item(page, for_all)
    page.keyboard.press("1")
    after = next_item(page, wrong)
    page.keyboard.press("u")
    expect(page.locator(".stage")).to_contain_text("Taken back")
    assert settled(page) == wrong
    page.keyboard.press("2")
    assert next_item(page, wrong) != wrong
    entry = page.locator(f".history [data-item='{wrong}']")
    entry.click()
    expect(page.locator(".stage")).to_contain_text("You said 2")
    page.keyboard.press("Escape")  # as it was
    next_item(page, wrong)
    entry.click()
    page.keyboard.press("3")
    next_item(page, wrong)
    assert said_by(site, project, "ben") == [
        (own, None),
        (for_all, None),
        (wrong, "1"),
        (wrong, None),
        (wrong, "2"),
        (wrong, "3"),
    ]
    states = {item: site.client.item(project, item) for item in (own, for_all, wrong, after)}
    assert states[own].state != "skipped"  # others may get it
    assert states[for_all].state == "skipped"
    assert (states[wrong].state, states[wrong].label) == ("labeled", "3")


def test_on_a_phone(site: Site, open_page: Callable[..., Page], project: str) -> None:
    page = open_page(**PHONE)
    begin(page, project, "dora")
    item = settled(page)
    expect(page.locator("[data-part=sample] .seen")).to_have_count(40)
    targets = page.locator("main button, main .entry, .top a:not(.skip), .top button, .top select")
    chosen = page.locator(f"[data-class='{site.truth[item]}']")
    for width, height in ((320, 568), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        boxes = [(target.inner_text(), target.bounding_box()) for target in targets.all()]
        assert len([box for _, box in boxes if box]) > 14
        assert [words for words, box in boxes if box and min(box["width"], box["height"]) < THUMB] == []
        expect(chosen).to_be_in_viewport()
        expect(page.locator(".stage .item")).to_be_in_viewport()
    chosen.tap()
    next_item(page, item)
    assert said_by(site, project, "dora") == [(item, site.truth[item])]
    page.get_by_role("button", name="Settings").tap()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert serious_findings(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_findings_that_keep_people_out(open_page: Callable[..., Page], project: str, scheme: str) -> None:
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    page.goto("/annotate")
    expect(page.get_by_role("link", name=project)).to_be_visible()
    found = {"chooser": serious_findings(page)}
    page.get_by_role("link", name=project).click()
    expect(page.get_by_role("heading", name="Who labels here?")).to_be_visible()
    found["name"] = serious_findings(page)
    page.get_by_label("Your name").fill(f"eve {scheme}")
    page.keyboard.press("Enter")
    settled(page)
    page.keyboard.press("8")
    expect(page.locator(".history .entry")).to_have_count(1)
    expect(page.locator("[data-part=sample] .seen")).to_have_count(40)
    settled(page)
    found["bench"] = serious_findings(page)
    page.keyboard.press("u")
    expect(page.locator(".stage")).to_contain_text("Taken back")
    found["undone"] = serious_findings(page)
    assert not any(found.values()), found


def test_two_browsers_never_have_the_same_item(open_page: Callable[..., Page], site: Site, project: str) -> None:
    pages = {name: open_page() for name in ("fay", "gil")}
    seen: dict[str, list[str]] = {name: [] for name in pages}
    for name, page in pages.items():
        begin(page, project, name)
    for _ in range(2):
        for name, page in pages.items():
            item = settled(page)
            seen[name].append(item)
            page.keyboard.press(site.truth[item])
            next_item(page, item)
    assert not set(seen["fay"]) & set(seen["gil"])
    for name, items in seen.items():
        assert [item for item, _ in said_by(site, project, name)] == items
    # Who leaves gives back what they held.
    for name, page in pages.items():
        spares_came(site, page, project, name)
        page.goto("/annotate")
        expect(page.get_by_role("link", name=project)).to_be_visible()
        assert wait_until(lambda name=name: held_by(site, project, name) == 0, 20)  # type: ignore[misc]


def test_from_no_model_to_the_end_of_the_pool(site: Site, page: Page) -> None:
    project = site.project("unmodelled", checkpoint=False, pool=6)
    begin(page, project, "hal")
    expect(page.locator("[data-part=fresh]")).to_contain_text("by chance")
    expect(page.locator(".model")).to_contain_text("There is no model yet")
    item = settled(page)
    for _ in range(3):
        page.keyboard.press(site.truth[item])
        item = next_item(page, item)
    page.get_by_role("button", name="Train a model on 3 labels").click()
    expect(page.locator("[data-part=preparing]")).to_be_visible()
    expect(page.locator(".work")).to_contain_text("The model is ready", timeout=60_000)
    for _ in range(2):
        page.keyboard.press(site.truth[item])
        item = next_item(page, item)
        expect(page.locator("[data-part=guess]")).to_be_visible()
    page.keyboard.press(site.truth[item])
    expect(page.locator("[data-ended=pool_exhausted]")).to_contain_text("this project is done")
    assert len(said_by(site, project, "hal")) == 6


def test_refusals_are_told(open_page: Callable[..., Page], project: str, expected_errors: list[str]) -> None:
    expected_errors.append("Failed to load resource: the server responded with a status of 40[14]")
    page = open_page()
    page.goto("/annotate?project=nowhere")
    page.get_by_label("Your name").fill("ian")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("there is no project 'nowhere'")

    def guarded(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer lk_good":
            route.continue_()
        else:
            problem: dict[str, Any] = {"title": "t", "status": 401, "code": "unauthorized", "detail": "no such key"}
            route.fulfill(status=401, json=problem, content_type="application/problem+json")

    page.route("**/projects/**", guarded)
    page.goto(f"/annotate?project={project}")
    for key in ("lk_bad", "lk_good"):
        page.get_by_label("Key").fill(key)
        page.keyboard.press("Enter")
        if key == "lk_bad":
            expect(page.get_by_role("alert")).to_contain_text("no such key")
    settled(page)
    expect(page.locator(".stage img").first).to_be_visible()
