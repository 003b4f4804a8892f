"""What operators order of a run, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tamiyo_leyline import AdaptationCommand

from bench.pretend import PretendTraining
from tests.page.conftest import PHONE, Site
from tests.page.test_run import opened

pytestmark = pytest.mark.browser


def with_live_seed(site: Site, run_id: str) -> str:
    """Report until a seed is being trained; its id."""
    training = PretendTraining(seed=1)
    for epoch in range(60):
        reply = site.trainings.send("POST", f"/runs/{run_id}/epoch", training.report(epoch))
        for command in reply["commands"]:
            training.obey(AdaptationCommand.model_validate(command))
        seeds = site.trainings.send("GET", f"/runs/{run_id}")["seeds"]
        if any(seed["stage"] == "TRAINING" for seed in seeds):
            return str(seeds[0]["seed_id"])
    raise AssertionError("nothing germinated in 60 epochs")


def test_the_next_command_is_ordered_with_a_reason_and_taken_back(site: Site) -> None:
    seed = with_live_seed(site, "alpha")
    page = opened(site, "alpha")
    page.get_by_role("button", name="Override").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("[name=action]").select_option("CULL")
    dialog.locator("[name=seed]").select_option(seed)
    dialog.get_by_role("button", name="Order").click()
    assert site.trainings.send("GET", "/runs/alpha")["override"] is None
    dialog.get_by_label("Why").fill("it <b>leaks</b>")
    dialog.get_by_role("button", name="Order").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(".order-line")).to_contain_text("it <b>leaks</b>")
    order = site.trainings.send("GET", "/runs/alpha")["override"]
    assert (order["action"], order["target_seed_id"]) == ("CULL", seed)
    page.get_by_role("button", name="Take back").click()
    page.get_by_role("dialog").get_by_role("button", name="Take back").click()
    expect(page.locator(".order-line")).to_be_hidden()
    assert site.trainings.send("GET", "/runs/alpha")["override"] is None


def test_an_order_of_somebody_else_is_shown_as_it_comes_and_goes(site: Site) -> None:
    site.trainings.train("alpha", 12)
    page = opened(site, "alpha")
    expect(page.locator(".live")).to_have_text("Live")
    order = {"action": "WAIT", "reason": "let it settle", "by": "ada"}
    site.trainings.send("POST", "/runs/alpha/override", order)
    expect(page.locator(".order-line")).to_contain_text("let it settle — ada")
    site.trainings.train("alpha", 1)
    expect(page.locator(".order-line")).to_be_hidden()


def test_an_order_for_a_run_that_is_over_cannot_be_taken_back(site: Site) -> None:
    site.trainings.train("alpha", 3)
    page = opened(site, "alpha")
    site.trainings.send("POST", "/runs/alpha/override", {"action": "WAIT", "reason": "let it settle"})
    expect(page.get_by_role("button", name="Take back")).to_be_visible()
    site.trainings.send("POST", "/runs/alpha/complete", {"result": "failed"})
    expect(page.get_by_role("button", name="Take back")).to_be_hidden()
    expect(page.locator(".order-line")).to_contain_text("let it settle")


def test_what_the_service_refuses_is_told_in_the_dialog(site: Site) -> None:
    site.expected = ("Failed to load resource",)
    site.trainings.train("alpha", 5)
    page = opened(site, "alpha")
    page.get_by_role("button", name="Override").click()
    dialog = page.get_by_role("dialog")
    # The seed that could be culled is not there: only germinations and waiting are offered.
    expect(dialog.locator("[name=action]").locator("option", has_text="Cull")).to_have_count(0)
    dialog.get_by_label("Why").fill("x")
    site.trainings.send("POST", "/runs/alpha/complete", {"result": "aborted"})
    dialog.get_by_role("button", name="Order").click()
    expect(dialog.get_by_role("alert")).to_contain_text("completed")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Override")).to_be_hidden()


def test_a_run_is_given_another_policy_with_a_reason(site: Site) -> None:
    site.trainings.train("alpha", 12)
    page = opened(site, "alpha")
    page.get_by_role("button", name="Policy").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("in place of heuristic 1")
    dialog.locator("[name=policy]").select_option("learned@imitation-cnn-1.0.0")
    dialog.get_by_label("Why").fill("try the network")
    dialog.get_by_role("button", name="Give policy").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(".run-head")).to_contain_text("learned imitation-cnn-1.0.0")
    assert site.trainings.send("GET", "/runs/alpha")["policy"]["name"] == "learned"


def test_the_controls_fit_on_a_phone(site: Site) -> None:
    site.trainings.train("alpha", 12)
    order = {"action": "WAIT", "reason": "settle-" * 18, "by": "ada"}
    site.trainings.send("POST", "/runs/alpha/override", order)
    page = opened(site, "alpha", viewport=PHONE)
    expect(page.locator(".order-line")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
