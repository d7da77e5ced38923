"""Debian's Chromium, driven by playwright, and when a page has come to rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.processes import require

Theme = Literal["light", "dark"]
# As wide as a desk's screen and as a phone
DESK, PHONE = (1280, 900), (390, 844)
# What a page is looked at as, by name: width and theme
VIEWS = ("1280-light", "390-light", "390-dark", "1280-dark")
# Milliseconds: the machine is busy with other tests
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)
# It runs as root in containers, without a graphics card, and calls nobody
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# Nothing is on its way, the fonts are there, and what is drawn looks as it did a moment ago
AT_REST = """() => {
    const drawn = [...document.querySelectorAll("canvas")].map(canvas => canvas.toDataURL()).join();
    const same = window.drawnBefore === drawn;
    window.drawnBefore = drawn;
    const busy = document.querySelector(".htmx-request, [aria-busy=true], #swagger-ui:empty, .loading-container");
    return document.readyState === "complete" && document.fonts.status === "loaded" && !busy && same;
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    program = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        browser.close()


def context(
    browser: Browser, web: str, *, size: tuple[int, int] = DESK, language: str = "en", theme: Theme = "light"
) -> BrowserContext:
    """A person's browser, without cookies; addresses are those of `web`."""
    made = browser.new_context(
        base_url=web,
        viewport={"width": size[0], "height": size[1]},
        locale={"en": "en-US", "es": "es-PE"}[language],
        timezone_id="America/Lima",
        color_scheme=theme,
        reduced_motion="reduce",
    )
    made.set_default_timeout(PATIENCE)
    return made


def show_as(page: Page, view: str) -> None:
    """The page that is open; it takes its theme when it is loaded."""
    width, _, theme = view.partition("-")
    wide, high = DESK if int(width) == DESK[0] else PHONE
    page.set_viewport_size({"width": wide, "height": high})
    dark = theme == "dark"
    if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") != dark:
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.reload()
    wait_for_rest(page)


def wait_for_rest(page: Page) -> None:
    page.wait_for_function(AT_REST, polling=60, timeout=PATIENCE)


def log_in(page: Page, username: str, password: str, then: str = "/admin/") -> None:
    """Through the form, as people do."""
    page.goto(f"/admin/login/?next={then}")
    page.locator("[name=username]").fill(username)
    page.locator("[name=password]").fill(password)
    page.locator("[name=password]").press("Enter")
    page.wait_for_url(lambda url: "/login/" not in url)
