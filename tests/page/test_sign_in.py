"""Where keys are required, the page asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tamiyo_service import Settings
from tamiyo_service.auth.caller import Scope
from tamiyo_service.auth.tokens import NewKey, new_key
from tamiyo_service.store import MemoryStore
from tamiyo_service.testing import running_service

from tests.page.conftest import MovableClock, Site
from tests.page.trainings import Trainings

pytestmark = pytest.mark.browser


class Doors:
    """A site that asks for keys.

    Attributes:
        site: the service and a browser.
        store: where keys are.
    """

    def __init__(self, site: Site, store: MemoryStore) -> None:
        self.site = site
        self.store = store

    def key(self, scope: Scope, *prefixes: str) -> NewKey:
        """A new key."""
        made = new_key("ann", scope, prefixes, datetime.now(UTC))
        # Nothing in this store waits, so one step is all of it.
        with pytest.raises(StopIteration):
            self.store.keys.add(made.row).send(None)
        return made


@pytest.fixture
def doors(browser: Browser, tmp_path: Path) -> Iterator[Doors]:
    """A service that asks for keys; at the end no page may have complained but of that."""
    store = MemoryStore()
    with running_service(Settings(auth="required"), store=store) as url:
        site = Site(url, browser, Trainings(url), MovableClock())
        site.expected = ("Failed to load resource",)
        opened = Doors(site, store)
        site.trainings.present(opened.key(Scope.ADMIN).key)
        yield opened
        complaints = site.complained()
        for context in site.contexts:
            context.close()
        site.trainings.close()
    assert complaints == []


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_an_operator_signs_in_steers_and_signs_out(doors: Doors) -> None:
    doors.site.trainings.train("alpha", 5)
    made = doors.key(Scope.OPERATOR)
    page = doors.site.open("/ui/runs/alpha")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.get_by_label("API key")).to_be_focused()
    sign_in(page, made.key)
    expect(page.get_by_role("heading", level=1)).to_have_text("alpha")
    expect(page.locator(".live")).to_have_text("Live")
    page.locator("#note-text").fill("seen")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator(".notes")).to_contain_text("seen")
    expect(page.locator(".notes")).to_contain_text("ann")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("alpha")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    assert made.key not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_who_could_not_be_signed_out_is_told(doors: Doors) -> None:
    page = doors.site.open("/")
    sign_in(page, doors.key(Scope.OPERATOR).key)
    page.context.route("**/session", lambda route: route.abort())
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("alert")).to_contain_text("still signed in")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")
    page.context.unroute("**/session")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_key_that_is_none_is_told_and_may_be_tried_again(doors: Doors) -> None:
    page = doors.site.open("/")
    sign_in(page, "tamiyo_nonsense")
    expect(page.get_by_role("alert")).to_contain_text("unknown, revoked or expired")
    sign_in(page, doors.key(Scope.OPERATOR).key)
    expect(page.get_by_role("heading", level=1)).to_have_text("Fleet")


def test_the_fleet_is_that_of_the_key(doors: Doors) -> None:
    for run_id in ("team-a.one", "team-b.one"):
        doors.site.trainings.train(run_id, 3)
    page = doors.site.open("/")
    sign_in(page, doors.key(Scope.TRAINER, "team-a.").key)
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".row")).to_contain_text("team-a.one")


def test_a_session_that_ends_asks_for_a_key_again(doors: Doors) -> None:
    doors.site.trainings.train("alpha", 3)
    page = doors.site.open("/")
    sign_in(page, doors.key(Scope.OPERATOR).key)
    expect(page.locator(".row")).to_have_count(1)
    page.context.clear_cookies()
    doors.site.trainings.train("beta", 1)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
