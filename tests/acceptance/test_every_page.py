"""axe-core finds nothing serious on any page, and none asks for what its policy refuses.

One page of each sort (list, row, form, …) is looked at in two of the four views (light or dark, as wide as a desk's
screen or a phone), and of the others, which share its templates, each third in one: all pages in all views take
minutes. Those are the work of `make screenshots ARGS=--axe`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page

from tests import axe
from tests.acceptance.refusals import note_refusals, refused
from tests.browser import VIEWS, context, log_in, show_as
from tests.pages import sample
from tests.site import PASSWORD, USERNAME, Site

pytestmark = [pytest.mark.timeout(480), pytest.mark.xdist_group("pages")]

LIGHT_AND_DARK = ("1280-light", "390-dark")


@dataclass
class Seen:
    """What was found, by address and view."""

    serious: dict[str, list[str]] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen(browser: Browser, shown: Site) -> Seen:
    """Each page is visited once for all that is asked of it."""
    found = Seen()
    with context(browser, shown.web) as with_cookies:
        page = with_cookies.new_page()
        note_refusals(page)
        log_in(page, USERNAME, PASSWORD)
        for number, (each, is_first_of_its_sort) in enumerate(sample(shown.pages)):
            page.goto(each.url)
            for view in LIGHT_AND_DARK if is_first_of_its_sort else (VIEWS[number % len(VIEWS)],):
                look(page, view, f"{each.url} {view}", found)
    return found


def look(page: Page, view: str, name: str, found: Seen) -> None:
    show_as(page, view)
    if wrong := axe.serious(page):
        found.serious[name] = wrong
    if said := refused(page):
        found.refused[name] = said


def test_no_page_has_anything_serious_that_a_screen_reader_or_a_weak_eye_could_not_use(seen: Seen) -> None:
    assert seen.serious == {}, json.dumps(seen.serious, indent=1, ensure_ascii=False)


def test_no_page_asks_for_what_its_policy_refuses(seen: Seen) -> None:
    assert seen.refused == {}


def test_neither_does_the_page_of_the_log_in(browser: Browser, shown: Site) -> None:
    found = Seen()
    with context(browser, shown.web) as stranger:
        page = stranger.new_page()
        note_refusals(page)
        page.goto("/admin/login/")
        for view in VIEWS:
            look(page, view, view, found)
    assert found == Seen()


def test_there_are_pages_to_look_at(shown: Site) -> None:
    assert len(shown.pages) > 80
