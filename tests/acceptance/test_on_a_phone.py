"""On a phone nothing is out of sight: what has to be scrolled to sideways is found by nobody."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import PHONE, context, log_in
from tests.pages import sample
from tests.site import PASSWORD, USERNAME, Site

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("pages")]

# The page is wider than the screen by so many pixels; its name is longer than the room it has
BEYOND = "document.documentElement.scrollWidth - innerWidth"
NAME_IS_CUT = """(() => {
    const name = [...document.querySelectorAll(".cw-crumb")].pop();
    return name !== undefined && name.scrollWidth > name.clientWidth;
})()"""


def test_no_page_scrolls_sideways_and_each_is_named_in_full(browser: Browser, shown: Site) -> None:
    """In Spanish, whose words are longer. Every list, as its columns are its own; of the others, which share templates,
    a sample: `make screenshots` measures all pages."""
    lists = [each for each in shown.pages if each.what == "list"]
    assert len(lists) > 40
    with context(browser, shown.web, size=PHONE, language="es") as person:
        page = person.new_page()
        log_in(page, USERNAME, PASSWORD)
        looked_at = [*lists, *(each for each, _ in sample(shown.pages) if each not in lists)]
        found = {each.url: wrong for each in looked_at if (wrong := wrong_at(page, each.url))}

    assert found == {}


def wrong_at(page: Page, url: str) -> list[str]:
    # Pictures and the charts' data come later and change no width
    page.goto(url, wait_until="domcontentloaded")
    beyond, is_cut = page.evaluate(f"[{BEYOND}, {NAME_IS_CUT}]")
    return [f"scrolls sideways by {beyond} px"] * (beyond > 0) + ["its name is cut off"] * is_cut
