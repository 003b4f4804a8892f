"""The fleet, in a real browser."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import PHONE, Site

pytestmark = pytest.mark.browser


def row(page: Page, run_id: str) -> str:
    """What the row of a run says."""
    return page.locator(".row", has_text=run_id).inner_text()


def test_a_run_is_shown_with_its_last_decision_and_its_curve(site: Site) -> None:
    site.trainings.create("alpha", labels={"team": "vision"}, max_epochs=80)
    site.trainings.train("alpha", 40)
    page = site.open("/")
    line = page.locator(".row", has_text="alpha")
    expect(line).to_contain_text("40 / 80")
    expect(line).to_contain_text("team vision")
    expect(line.locator(".sparkline polyline")).to_have_count(1)
    acting = [site.trainings.decisions("alpha", kind) for kind in ("GERMINATE", "FOSSILIZE", "CULL")]
    last = max((item for items in acting for item in items), key=lambda item: item["epoch"])
    expect(line).to_contain_text(f"epoch {last['epoch']}")
    expect(page.locator(".count")).to_have_text("1 run")


def test_what_happens_is_shown_without_loading_the_page_again(site: Site) -> None:
    site.trainings.train("alpha", 3)
    page = site.open("/")
    expect(page.locator(".live")).to_have_text("Live")
    expect(page.locator(".row")).to_have_count(1)
    page.evaluate("document.querySelector('.row').kept = true")
    site.trainings.train("alpha", 4)
    expect(page.locator(".row", has_text="alpha")).to_contain_text("7 / 50")
    site.trainings.train("beta", 1)
    expect(page.locator(".row").first).to_contain_text("beta")
    assert page.evaluate("document.querySelectorAll('.row')[1].kept") is True


def test_filters_narrow_the_list_and_survive_a_reload(site: Site) -> None:
    site.trainings.create("vision-1", labels={"team": "vision"})
    site.trainings.create("vision-2", labels={"team": "vision"})
    site.trainings.create("speech-1", labels={"team": "speech"})
    site.trainings.train("vision-1", 30)
    site.trainings.send("PUT", "/runs/vision-2/hold", {"reason": "a look"})
    page = site.open("/")
    expect(page.locator(".row")).to_have_count(3)
    page.get_by_label("Label").fill("team:vision")
    expect(page.locator(".row")).to_have_count(2)
    page.get_by_label("Status").select_option("HELD")
    only = page.locator(".row")
    expect(only).to_have_text([re.compile("vision-2")])
    page.reload()
    expect(only).to_have_text([re.compile("vision-2")])
    page.get_by_label("Status").select_option("")
    page.get_by_label("Last decision").select_option("WAIT")
    expect(only).to_have_text([re.compile("vision-2")])
    page.get_by_label("Last decision").select_option("")
    page.get_by_label("Search").fill("SION-1")
    expect(only).to_have_text([re.compile("vision-1")])
    page.get_by_label("Search").fill("nobody")
    expect(page.locator(".list-note")).to_contain_text("No run passes these filters")


def test_a_run_gone_silent_is_marked_and_can_be_looked_for(site: Site) -> None:
    site.trainings.train("quiet", 5)
    site.clock.ahead = timedelta(hours=2)
    site.trainings.train("talking", 5)
    page = site.open("/")
    expect(page.locator(".row", has_text="quiet")).to_contain_text("Silent")
    expect(page.locator(".row", has_text="talking")).to_contain_text("Active")
    page.get_by_label("Status").select_option("SILENT")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".row")).to_contain_text("quiet")


def test_ten_thousand_runs_keep_the_document_small(site: Site) -> None:
    site.trainings.many(10_000)
    page = site.open("/")
    expect(page.locator(".row").first).to_contain_text("many-09999")
    for wanted in (300, 600):
        page.wait_for_function(
            """(wanted) => {
                window.scrollTo(0, document.body.scrollHeight);
                return parseInt(document.querySelector(".count").textContent.replace(",", "")) >= wanted;
            }""",
            arg=wanted,
        )
    assert page.locator(".row").count() < 60
    assert page.evaluate("document.querySelectorAll('*').length") < 2_500
    page.get_by_label("Search").fill("many-00007")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".row")).to_contain_text("many-00007")


def test_the_fleet_fits_on_a_phone(site: Site) -> None:
    long = "a-run-with-a-very-long-name." * 4
    site.trainings.create(long, labels={"a-long-key": "a long value that goes on and on"})
    site.trainings.train(long, 30)
    page = site.open("/", PHONE)
    expect(page.locator(".row")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_theme_follows_the_system_until_one_is_chosen(site: Site) -> None:
    page = site.open("/", dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name=re.compile("Theme: system")).click()
    assert page.evaluate(ground) != dark
    page.reload()
    expect(page.get_by_role("button", name=re.compile("Theme: light"))).to_be_visible()
    assert page.evaluate(ground) != dark


def test_an_empty_service_says_how_a_run_comes_to_be(site: Site) -> None:
    page = site.open("/")
    expect(page.locator(".list-note")).to_contain_text("No run has reported yet")
    site.trainings.train("first", 1)
    expect(page.locator(".row")).to_contain_text("first")
