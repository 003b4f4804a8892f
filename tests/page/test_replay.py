"""The replay of a run, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import PHONE, Site
from tests.page.test_run import INKED

pytestmark = pytest.mark.browser

PATIENT = "set=heuristic.plateau_epochs_to_germinate%3D5"


def answered(site: Site, run_id: str, **request: Any) -> dict[str, Any]:
    """What the service says to the same replay."""
    answer: dict[str, Any] = site.trainings.send("POST", f"/runs/{run_id}/replay", request)
    return answer


def patient(site: Site, run_id: str) -> dict[str, Any]:
    return answered(site, run_id, heuristic={"plateau_epochs_to_germinate": 5}, items="acting")


def opened(site: Site, run_id: str, extra: str = PATIENT, **options: object) -> Page:
    """The page of a replay, once it is drawn."""
    page = site.open(f"/ui/replay/{run_id}?{extra}", **options)  # type: ignore[arg-type]  # of Site.open
    page.wait_for_function(INKED)
    return page


def test_a_run_is_replayed_from_its_page_with_another_setting(site: Site) -> None:
    site.trainings.train("alpha", 60)
    page = site.open("/ui/runs/alpha")
    page.get_by_role("button", name="Replay").click()
    page.get_by_role("button", name="Another setting").click()
    page.get_by_label("Setting", exact=True).select_option("heuristic.plateau_epochs_to_germinate")
    expect(page.get_by_label("Value", exact=True)).to_have_value("3")
    page.get_by_label("Value", exact=True).fill("5")
    page.get_by_role("button", name="Replay").click()
    page.wait_for_function(INKED)
    answer = patient(site, "alpha")
    first = answer["first_divergence"]
    outcome = page.get_by_role("region", name="Outcome")
    expect(outcome.get_by_role("heading", level=2)).to_have_text("It would have done otherwise")
    expect(outcome).to_contain_text(f"Epoch {first['epoch']}")
    expect(outcome).to_contain_text(first["slot"]["logged"]["reason"])
    expect(outcome).to_contain_text(first["slot"]["replayed"]["reason"])
    expect(outcome).to_contain_text("open-loop")
    expect(page.locator(".replay-row")).to_have_count(len(answer["items"]))
    looped = sum(item["open_loop"] for item in answer["items"])
    expect(page.locator(".replay-rows > li.looped")).to_have_count(looped)
    # The address has it all: it can be passed on.
    page.reload()
    page.wait_for_function(INKED)
    expect(page.get_by_role("region", name="Outcome")).to_contain_text(f"Epoch {first['epoch']}")
    expect(page.get_by_label("Value", exact=True)).to_have_value("5")


def test_a_row_tells_how_both_decided(site: Site) -> None:
    site.trainings.train("alpha", 60)
    page = opened(site, "alpha")
    first = patient(site, "alpha")["first_divergence"]["epoch"]
    row = page.locator(f"[data-epoch='{first}'] .replay-row")
    row.click()
    sides = page.locator(f"[data-epoch='{first}'] .replay-side")
    expect(sides).to_have_count(2)
    record = site.trainings.send("GET", f"/runs/alpha/decisions/{first}")
    for comparison in record["slots"][-1]["comparisons"]:
        expect(sides.first).to_contain_text(comparison["name"].replace("_", " "))
    expect(sides.first.locator("tr", has_text="plateau epochs")).to_contain_text("3.000")
    expect(sides.last.locator("tr", has_text="plateau epochs")).to_contain_text("5.000")
    expect(row).to_have_attribute("aria-expanded", "true")
    row.click()
    expect(sides).to_have_count(0)


def test_it_works_without_a_mouse(site: Site) -> None:
    site.trainings.train("alpha", 60)
    page = opened(site, "alpha")
    items = patient(site, "alpha")["items"]
    page.locator(".chart").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#announcer")).to_contain_text(f"epoch {items[1]['epoch']}: the run")
    page.keyboard.press("Enter")
    opened_row = page.locator(f"[data-epoch='{items[1]['epoch']}'] .replay-row")
    expect(opened_row).to_be_focused()
    expect(opened_row).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Enter")
    expect(opened_row).to_have_attribute("aria-expanded", "false")


def test_only_differences_are_listed_on_request(site: Site) -> None:
    site.trainings.train("alpha", 60)
    page = opened(site, "alpha")
    differing = [item for item in patient(site, "alpha")["items"] if not item["agrees"]]
    page.get_by_label("only where they differ").check()
    expect(page.locator(".replay-row")).to_have_count(len(differing))
    page.get_by_role("button", name=f"Epoch {differing[0]['epoch']}").click()
    expect(page.locator(".replay-side")).to_have_count(2)


def test_the_same_settings_would_have_done_the_same(site: Site) -> None:
    site.trainings.train("alpha", 30)
    page = site.open("/ui/replay/alpha")
    expect(page.get_by_role("region", name="Outcome")).to_have_count(0)
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("heading", name="It would have done the same")).to_be_visible()
    expect(page.locator(".place-replay")).to_contain_text("100 %")


def test_a_preset_tells_what_it_changes(site: Site) -> None:
    site.trainings.train("alpha", 30)
    page = site.open("/ui/replay/alpha")
    page.get_by_label("Preset").select_option("report")
    page.get_by_role("button", name="Replay").click()
    page.get_by_text("settings differ from the run's").click()
    expect(page.locator(".differences")).to_contain_text("heuristic.blueprint_penalty_threshold")


def test_a_run_is_replayed_with_the_network(site: Site) -> None:
    site.trainings.train("alpha", 40)
    page = site.open("/ui/replay/alpha")
    page.get_by_label("Policy").select_option("learned@imitation-cnn-1.0.0")
    page.get_by_role("button", name="Replay").click()
    page.wait_for_function(INKED)
    page.locator(".replay-row").first.click()
    expect(page.locator(".replay-side").last).to_contain_text("learned imitation-cnn-1.0.0")
    expect(page.locator(".replay-side").last.locator(".actions li.chosen", has_text="%")).not_to_have_count(0)


def test_what_cannot_be_replayed_says_why(site: Site) -> None:
    site.expected = ("Failed to load resource",)
    site.trainings.train("alpha", 10)
    page = site.open("/ui/replay/alpha?set=tracker.plateau%3D5")
    expect(page.get_by_role("alert").first).to_contain_text("plateau_threshold")


def test_what_others_wrote_stays_text(site: Site) -> None:
    hostile = "<img src=x onerror=window.pwned=1>"
    site.expected = ("Failed to load resource",)
    site.trainings.train("alpha", 12)
    site.trainings.send("PUT", "/runs/alpha/hold", {"reason": hostile})
    order = {"action": "GERMINATE_NORM", "reason": hostile}
    site.trainings.send("POST", "/runs/alpha/override", order)
    site.trainings.train("alpha", 5)
    page = opened(site, "alpha")
    expect(page.locator(".replay-row", has_text=hostile)).to_have_count(1)
    page.locator(".replay-row", has_text=hostile).click()
    expect(page.locator(".replay-side").first).to_contain_text(hostile)
    page.goto(f"{site.url}/ui/replay/alpha?set=tracker.{hostile}%3D{hostile}&policy={hostile}")
    expect(page.get_by_role("alert").first).to_be_visible()
    assert page.evaluate("window.pwned") is None


@pytest.mark.parametrize("dark", [False, True])
def test_a_replay_fits_on_a_phone(site: Site, dark: bool) -> None:
    site.trainings.train("alpha", 60)
    page = opened(site, "alpha", viewport=PHONE, dark=dark)
    page.locator(".replay-row").first.click()
    expect(page.locator(".replay-side")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_ten_thousand_epochs_are_replayed_with_few_elements(site: Site) -> None:
    site.trainings.long_run("long", 10_000)
    page = opened(site, "long", "set=heuristic.max_probation_epochs%3D1&preset=report")
    expect(page.get_by_role("region", name="Outcome")).to_contain_text("of 10,000 decisions")
    assert page.evaluate("document.querySelectorAll('*').length") < 4_000


def test_the_operators_questions_are_answered_in_six_clicks_from_the_fleet(site: Site) -> None:
    site.trainings.train("alpha", 60)
    cull = site.trainings.decisions("alpha", "CULL")[-1]
    record = site.trainings.send("GET", f"/runs/alpha/decisions/{cull['epoch']}")
    page = site.open("/")
    page.locator("a", has_text="alpha").first.click()
    page.locator(".decision-row", has_text="Cull").first.click()
    # Why was that seed culled, and what was the runner-up?
    expect(page.locator(".why .because").first).to_have_text(cull["commands"][0]["reason"])
    runner_up = record["slots"][0]["runner_up"].capitalize()
    expect(page.locator(".why .actions li", has_text="runner-up").first).to_contain_text(runner_up)
    page.get_by_label("Close").click()
    page.get_by_role("button", name="Replay").click()
    page.get_by_label("Preset").select_option("report")
    page.get_by_role("button", name="Replay").click()
    # Would the preset have done the same?
    page.get_by_role("region", name="Outcome").wait_for()
    row = page.locator(f"[data-epoch='{cull['epoch']}'] .replay-row")
    answer = answered(site, "alpha", heuristic={"preset": "report"}, since_epoch=cull["epoch"])
    expect(row.locator(".chip").last).to_contain_text(answer["items"][0]["replayed_action"].capitalize())
