"""axe-core finds nothing serious on any page.

One page of each sort (list, row, form, …) is looked at in two of the four views (light or dark, as wide as a desk's
screen or a phone), and of the others, which share its templates, each third in one: all pages in all views take
minutes. Those are the work of `make screenshots ARGS=--axe`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests import axe
from tests.browser import VIEWS, context, log_in, show_as
from tests.pages import sample
from tests.site import PASSWORD, USERNAME, Site

pytestmark = [pytest.mark.timeout(480), pytest.mark.xdist_group("pages")]

LIGHT_AND_DARK = ("1280-light", "390-dark")


@pytest.fixture(scope="module")
def person(browser: Browser, shown: Site) -> Iterator[Page]:
    with context(browser, shown.web) as with_cookies:
        page = with_cookies.new_page()
        log_in(page, USERNAME, PASSWORD)
        yield page


def test_the_page_of_the_log_in_has_nothing_serious(browser: Browser, shown: Site) -> None:
    with context(browser, shown.web) as stranger:
        page = stranger.new_page()
        page.goto("/admin/login/")
        found = {view: wrong for view in VIEWS if (wrong := in_view(page, view))}

    assert found == {}


def test_no_page_has_anything_serious_that_a_screen_reader_or_a_weak_eye_could_not_use(
    person: Page, shown: Site
) -> None:
    found: dict[str, list[str]] = {}
    for number, (each, is_first_of_its_sort) in enumerate(sample(shown.pages)):
        person.goto(each.url)
        for view in LIGHT_AND_DARK if is_first_of_its_sort else (VIEWS[number % len(VIEWS)],):
            if wrong := in_view(person, view):
                found[f"{each.url} {view}"] = wrong

    assert found == {}, json.dumps(found, indent=1, ensure_ascii=False)


def in_view(page: Page, view: str) -> list[str]:
    show_as(page, view)
    return axe.serious(page)
