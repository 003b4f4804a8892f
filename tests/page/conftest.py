"""A real browser before a real service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright
from tamiyo_service import Settings
from tamiyo_service.store import SqlStore
from tamiyo_service.testing import running_service

from tests.page.trainings import Trainings

LAPTOP = ViewportSize(width=1280, height=860)
PHONE = ViewportSize(width=390, height=844)
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
_WATCH = """
window.violations = [];
document.addEventListener(
    "securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


def chromium() -> str:
    """Where the browser is."""
    found = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    assert found is not None, "these tests need a browser: apt-get install chromium"
    return found


class MovableClock:
    """The real time, and as much later as is wished."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Site:
    """A service with its page, and a browser to open it with.

    Attributes:
        expected: beginnings of what the console may say, because the test provokes it.
    """

    url: str
    browser: Browser
    trainings: Trainings
    clock: MovableClock
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def open(self, path: str, viewport: ViewportSize = LAPTOP, *, dark: bool = False) -> Page:
        """Open a place of the page in a fresh window."""
        context = self.browser.new_context(viewport=viewport, color_scheme="dark" if dark else "light")
        context.set_default_timeout(20_000)
        context.add_init_script(_WATCH)
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.goto(self.url + path)
        return page

    def complained(self) -> list[str]:
        """What the pages complained of, with what their policy forbade."""
        pages = [page for context in self.contexts for page in context.pages]
        forbidden = [str(one) for page in pages for one in page.evaluate("window.violations")]
        return [one for one in self.complaints if not one.startswith(self.expected or ("\0",))] + forbidden


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser without windows."""
    # A machine that does much else at the same time is slow, not wrong.
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        # Nobody but our own page is opened in it, and root may have no sandbox.
        launched = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def site(browser: Browser, tmp_path: Path) -> Iterator[Site]:
    """A service on an empty database; at the end no page may have complained."""
    clock = MovableClock()
    store = SqlStore(f"sqlite:///{tmp_path / 'tamiyo.db'}")
    with running_service(Settings(), store=store, clock=clock) as url:
        trainings = Trainings(url)
        opened = Site(url, browser, trainings, clock)
        yield opened
        complaints = opened.complained()
        for context in opened.contexts:
            context.close()
        trainings.close()
    assert complaints == []
