"""One run, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import PHONE, Site

pytestmark = pytest.mark.browser

INKED = """() => {
    const canvas = document.querySelector(".chart canvas");
    if (!canvas || !canvas.width) return false;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let index = 3; index < data.length; index += 4) inked += data[index] > 0;
    return inked > 2000;
}"""
"""Whether something is drawn."""


def opened(site: Site, run_id: str, extra: str = "", **options: object) -> Page:
    """The page of a run, once its curves are drawn."""
    page = site.open(f"/ui/runs/{run_id}{extra}", **options)  # type: ignore[arg-type]  # of Site.open
    page.wait_for_function(INKED)
    return page


def test_curves_figures_and_decisions_are_shown(site: Site) -> None:
    site.trainings.train("alpha", 60)
    page = opened(site, "alpha")
    expect(page.get_by_role("heading", level=1)).to_have_text("alpha")
    expect(page.locator(".figures")).to_contain_text("59")
    germinations = site.trainings.decisions("alpha", "GERMINATE")
    assert germinations
    expect(page.locator(".decision-row", has_text="Germinate")).to_have_count(len(germinations))
    expect(page.locator(".legend")).to_contain_text("probationary")


def test_a_decision_that_is_clicked_tells_why(site: Site) -> None:
    site.trainings.train("alpha", 40)
    page = opened(site, "alpha")
    first = site.trainings.decisions("alpha", "GERMINATE")[0]
    record = site.trainings.send("GET", f"/runs/alpha/decisions/{first['epoch']}")
    page.locator(".decision-row", has_text="Germinate").last.click()
    why = page.locator(".why")
    expect(why.get_by_role("heading", level=2)).to_have_text(f"Epoch {first['epoch']}")
    expect(why).to_contain_text(first["commands"][0]["reason"])
    for comparison in record["slots"][-1]["comparisons"]:
        expect(why.locator(".comparisons").last).to_contain_text(comparison["name"].replace("_", " "))
    expect(why).to_contain_text("executed")
    expect(why.locator(".actions li.illegal", has_text="Cull").first).to_contain_text("not legal")
    page.reload()
    expect(page.locator(".why")).to_contain_text(first["commands"][0]["reason"])


def test_the_chart_itself_can_be_clicked(site: Site) -> None:
    site.trainings.train("alpha", 41)
    page = opened(site, "alpha")
    box = page.locator(".chart").bounding_box()
    assert box is not None
    # The plot lies between 62 pixels from the left and 14 from the right: its middle is epoch 20.
    page.mouse.click(box["x"] + 62 + (box["width"] - 76) / 2, box["y"] + 180)
    expect(page.locator(".why h2")).to_have_text("Epoch 20")


def test_a_learned_decision_tells_probabilities_and_what_its_shadow_would_have_done(site: Site) -> None:
    site.trainings.create("net", policy={"name": "learned"}, shadow=[{"name": "heuristic"}])
    site.trainings.train("net", 40)
    (first, *_) = site.trainings.decisions("net", "GERMINATE")
    page = opened(site, "net", f"?epoch={first['epoch']}&attempt=0")
    why = page.locator(".why")
    expect(why.locator(".actions li.chosen", has_text="%").first).to_contain_text("Germinate")
    expect(why).to_contain_text("Entropy")
    expect(why).to_contain_text("runner-up")
    site.trainings.await_shadows("net", first["epoch"])
    page.reload()
    expect(page.locator(".why .shadows")).to_contain_text("heuristic")


def test_what_happens_is_drawn_while_why_stays_open(site: Site) -> None:
    site.trainings.train("alpha", 30)
    page = opened(site, "alpha", "?epoch=5")
    expect(page.locator(".why")).to_be_visible()
    expect(page.locator(".live")).to_have_text("Live")
    page.evaluate("document.querySelector('.verdict').kept = true")
    site.trainings.train("alpha", 25)
    expect(page.locator(".figures")).to_contain_text("54")
    acting = sum(len(site.trainings.decisions("alpha", kind)) for kind in ("GERMINATE", "FOSSILIZE", "CULL"))
    expect(page.locator(".decision-row")).to_have_count(acting)
    assert page.evaluate("document.querySelector('.verdict').kept") is True


def test_a_run_is_held_with_a_reason_and_released_again(site: Site) -> None:
    site.trainings.train("alpha", 12)
    page = opened(site, "alpha")
    page.get_by_role("button", name="Hold").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Hold").click()
    assert site.trainings.send("GET", "/runs/alpha")["status"] == "ACTIVE"
    dialog.get_by_label("Why").fill("the loader looks wrong")
    dialog.get_by_role("button", name="Hold").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(".status")).to_have_text("Held")
    assert site.trainings.send("GET", "/runs/alpha")["status"] == "HELD"
    standing = page.locator(".hold-line")
    expect(standing).to_contain_text("the loader looks wrong")
    reply = site.trainings.send(
        "POST", "/runs/alpha/epoch", {"epoch": 12, "available_slots": 1, "val_accuracy": 50.0}
    )
    assert "the loader looks wrong" in reply["commands"][0]["reason"]
    page.get_by_role("button", name="Release").click()
    page.get_by_role("dialog").get_by_role("button", name="Release").click()
    expect(page.locator(".status")).to_have_text("Active")
    expect(standing).to_be_hidden()
    assert site.trainings.send("GET", "/runs/alpha")["status"] == "ACTIVE"


def test_what_is_cancelled_is_not_done(site: Site) -> None:
    site.trainings.train("alpha", 3)
    page = opened(site, "alpha")
    page.get_by_role("button", name="Hold").click()
    page.get_by_role("dialog").get_by_label("Why").fill("perhaps")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert site.trainings.send("GET", "/runs/alpha")["status"] == "ACTIVE"


def test_notes_and_labels_are_kept(site: Site) -> None:
    site.trainings.create("alpha", labels={"team": "vision"})
    site.trainings.train("alpha", 3)
    page = opened(site, "alpha")
    page.get_by_label("Note", exact=True).fill("the loss jumps at 2")
    page.get_by_label("Your name (optional)").fill("Mira")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator(".notes li")).to_contain_text("the loss jumps at 2")
    expect(page.locator(".notes li")).to_contain_text("Mira")
    page.get_by_role("button", name="Labels").click()
    page.get_by_role("dialog").get_by_label("Labels").fill("no colon here")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("key: value")
    page.get_by_role("dialog").get_by_label("Labels").fill("team: speech\nsweep: 7")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.locator(".run-head .tag")).to_have_count(2)
    assert site.trainings.send("GET", "/runs/alpha")["labels"] == {"sweep": "7", "team": "speech"}


def test_what_became_of_seeds_is_listed(site: Site) -> None:
    site.trainings.train("alpha", 60)
    told = site.trainings.send("GET", "/runs/alpha/field-reports")["items"]
    assert told
    page = opened(site, "alpha")
    expect(page.locator(".reports tbody tr")).to_have_count(len(told))
    expect(page.locator(".reports tbody tr").first).to_contain_text(told[0]["seed_id"])


def test_ten_thousand_epochs_are_drawn_with_few_elements(site: Site) -> None:
    site.trainings.long_run("long", 10_000)
    page = opened(site, "long")
    expect(page.locator(".figures")).to_contain_text("9,999")
    expect(page.locator(".figures")).to_contain_text("best 9")  # the one peak, at 4,321, is not lost
    assert page.evaluate("document.querySelectorAll('*').length") < 1_500
    assert page.locator(".decision-row").count() <= 400
    box = page.locator(".chart").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 330, box["y"] + 100, steps=4)
    page.mouse.up()
    expect(page.get_by_role("button", name="Show all epochs")).to_be_visible()
    page.get_by_role("button", name="Show all epochs").click()
    expect(page.get_by_role("button", name="Show all epochs")).to_be_hidden()


@pytest.mark.parametrize("extra", ["", "?epoch=20"])
def test_a_run_fits_on_a_phone(site: Site, extra: str) -> None:
    site.trainings.create("alpha", labels={"team": "a-long-label-without-any-space-in-it" * 2})
    site.trainings.train("alpha", 60)
    page = opened(site, "alpha", extra, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_run_that_is_not_there_says_so(site: Site) -> None:
    site.expected = ("Failed to load resource",)
    page = site.open("/ui/runs/nobody")
    expect(page.get_by_role("alert").first).to_contain_text("there is no run nobody")
    expect(page.get_by_text("Not there")).to_be_visible()
    expect(page.get_by_role("region", name="Curves")).to_be_hidden()
    expect(page.get_by_role("button", name="Replay")).to_be_hidden()
    asked = "performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname)"
    assert "/runs/nobody/series" in page.evaluate(asked)
    assert "/runs/nobody/events" not in page.evaluate(asked)
    site.trainings.create("nobody")
    site.trainings.train("nobody", 5)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="Curves")).to_be_visible()
    expect(page.get_by_role("button", name="Replay")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_two_runs_lie_over_each_other(site: Site) -> None:
    site.trainings.create("one", heuristic={"plateau_epochs_to_germinate": 3})
    site.trainings.create("other", heuristic={"plateau_epochs_to_germinate": 5})
    site.trainings.train("one", 30, seed=1)
    site.trainings.train("other", 40, seed=2)
    page = opened(site, "one")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("dialog").get_by_role("button", name="other").click()
    page.wait_for_function(INKED)
    assert page.url.endswith("/ui/compare/one/other")
    expect(page.locator(".differences")).to_contain_text("heuristic.plateau_epochs_to_germinate")
    expect(page.locator(".pair-head")).to_have_count(2)
    page.set_viewport_size(PHONE)
    page.wait_for_function("() => document.documentElement.scrollWidth <= 390")
