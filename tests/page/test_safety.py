"""What comes from outside is text, and nothing else; what the page can do, the keyboard can."""

from __future__ import annotations

import pytest
from playwright.sync_api import Error, expect

from tests.page.conftest import Site
from tests.page.test_run import opened

pytestmark = pytest.mark.browser

ATTACK = '<img src=x onerror="window.caught=1"><script>window.caught=1</script>'
SHORT = "<img src=x onerror=window.caught=1>"


def test_labels_notes_and_reasons_are_shown_as_they_were_written(site: Site) -> None:
    site.trainings.create("victim", labels={SHORT: ATTACK, "plain": "javascript:alert(1)"})
    site.trainings.train("victim", 8)
    site.trainings.send("PUT", "/runs/victim/hold", {"reason": ATTACK})
    site.trainings.send("POST", "/runs/victim/notes", {"text": ATTACK, "by": SHORT})
    seed = {"seed_id": SHORT, "slot_id": SHORT, "blueprint_id": "norm", "stage": "TRAINING"}
    site.trainings.send(
        "POST",
        "/runs/victim/epoch",
        {"epoch": 8, "available_slots": 0, "val_accuracy": 50.0, "seeds": [seed]},
    )
    fleet = site.open("/")
    expect(fleet.locator(".row")).to_contain_text(ATTACK)
    page = opened(site, "victim", "?epoch=8")
    expect(page.locator(".notes")).to_contain_text(ATTACK)
    expect(page.locator(".run-head .labels")).to_contain_text(ATTACK)
    expect(page.locator(".why")).to_contain_text(ATTACK)
    page.locator(".chart").hover()
    expect(page.locator(".tip")).to_contain_text("Epoch")
    for shown in (fleet, page):
        assert shown.evaluate("window.caught") is None
        assert shown.locator("img, main script").count() == 0


@pytest.mark.parametrize(
    "path",
    [
        "/ui/runs/%3Cimg%20src%3Dx%20onerror%3Dcaught%3D1%3E",
        "/ui/compare/%3Cscript%3Ecaught%3D1/%22%3E%3Cb%3E",
    ],
)
def test_addresses_are_no_markup(site: Site, path: str) -> None:
    site.expected = ("Failed to load resource",)
    page = site.open(path)
    expect(page.get_by_role("alert").first).to_be_visible()
    assert page.evaluate("window.caught") is None
    assert page.locator("img, main b:not(dt b)").count() == 0


def test_a_search_is_no_markup(site: Site) -> None:
    page = site.open("/?search=%22%3E%3Cimg%20src%3Dx%20onerror%3Dcaught%3D1%3E")
    expect(page.locator(".list-note")).to_contain_text("No run passes these filters")
    assert page.evaluate("window.caught") is None


def test_the_browser_refuses_scripts_that_are_not_the_pages_files(site: Site) -> None:
    page = site.open("/")
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>no</b>'")
    violations = page.evaluate("window.violations")
    assert violations == ["require-trusted-types-for"]
    page.evaluate("window.violations = []")
    site.complaints.clear()


def test_the_keyboard_goes_from_the_fleet_to_why_and_back(site: Site) -> None:
    site.trainings.train("alpha", 40)
    page = site.open("/")
    expect(page.locator(".row")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator(".filter.label input").focus()
    page.keyboard.press("Tab")
    expect(page.locator(".row a")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("alpha")
    expect(page.locator(".decision-row").first).to_be_visible()
    page.locator(".chart").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#announcer")).to_contain_text("1 of")
    page.keyboard.press("Enter")
    expect(page.locator(".why h2")).to_be_focused()
    first = site.trainings.decisions("alpha", "GERMINATE")[0]["epoch"]
    expect(page.locator(".why h2")).to_have_text(f"Epoch {first}")
    page.keyboard.press("Escape")
    expect(page.locator(".why")).to_be_hidden()
    expect(page.locator(".chart")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")


def test_every_control_has_a_name(site: Site) -> None:
    site.trainings.train("alpha", 40)
    for page in (site.open("/"), opened(site, "alpha", "?epoch=20")):
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, textarea, a")]
                .filter((one) => !one.getAttribute("aria-label") && !one.textContent.trim())
                .filter((one) => !one.labels?.length)
                .map((one) => one.outerHTML)"""
        )
        assert nameless == []


def test_the_page_says_when_the_service_is_away_and_comes_back(site: Site) -> None:
    site.expected = ("Failed to load resource", "net::ERR")
    site.trainings.train("alpha", 3)
    page = site.open("/")
    expect(page.locator(".live")).to_have_text("Live")
    page.context.set_offline(True)
    page.evaluate("dispatchEvent(new Event('offline'))")
    page.get_by_label("Search").fill("alp")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".row")).to_have_count(1)
