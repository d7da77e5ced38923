"""Menu, filters, theme and language are reached by keys, and without JavaScript as far as they can be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import PHONE, context, log_in, wait_for_rest
from tests.site import PASSWORD, USERNAME, Site

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("pages")]

KEYS = "/admin/api_service/trackedkey/"
# More than any page has before its list
TABS_AT_MOST = 60


@pytest.fixture
def on_a_phone(browser: Browser, shown: Site) -> Iterator[Page]:
    with context(browser, shown.web, size=PHONE) as with_cookies:
        page = with_cookies.new_page()
        log_in(page, USERNAME, PASSWORD)
        yield page


def tab_to(page: Page, wanted: Locator) -> None:
    for _ in range(TABS_AT_MOST):
        page.keyboard.press("Tab")
        if wanted.evaluate("each => each === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


def test_the_menu_of_a_phone_opens_by_a_key_and_gives_the_focus_back(on_a_phone: Page) -> None:
    on_a_phone.goto(KEYS)
    opener = on_a_phone.locator("#cw-menu")
    tab_to(on_a_phone, opener)
    on_a_phone.keyboard.press("Enter")
    expect(on_a_phone.locator("#cw-close-menu")).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "true")
    on_a_phone.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(on_a_phone.locator("#nav-sidebar")).to_be_hidden()


def test_filters_open_and_close_by_keys(person: Page) -> None:
    person.goto(KEYS)
    opener = person.locator("#cw-filters")
    tab_to(person, opener)
    person.keyboard.press("Enter")
    expect(person.locator("#cw-close-filters")).to_be_focused()
    person.keyboard.press("Enter")
    expect(opener).to_be_focused()
    expect(person.locator("#changelist-filter")).to_be_hidden()
    person.keyboard.press("Space")
    person.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "false")


def test_what_is_added_beside_a_field_is_reached_by_keys_which_lead_back(person: Page) -> None:
    person.goto("/admin/django_celery_beat/periodictask/add/")
    opener = person.get_by_role("button", name="Actions: crontab", exact=True)
    tab_to(person, opener)
    person.keyboard.press("Enter")
    expect(person.get_by_role("link", name="Add another crontab")).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "true")
    person.keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_the_theme_is_chosen_by_keys(person: Page) -> None:
    person.goto(KEYS)
    tab_to(person, person.locator(".cw-user summary"))
    person.keyboard.press("Enter")
    dark = person.get_by_role("button", name="Dark")
    tab_to(person, dark)
    person.keyboard.press("Enter")
    expect(dark).to_have_attribute("aria-pressed", "true")
    expect(person.locator("html.dark")).to_be_visible()
    person.keyboard.press("Escape")
    expect(person.locator(".cw-user summary")).to_be_focused()


def test_the_language_is_chosen_by_keys_and_the_page_stays(person: Page) -> None:
    person.goto(f"{KEYS}?service=migo")
    tab_to(person, person.locator(".cw-user summary"))
    person.keyboard.press("Enter")
    tab_to(person, person.get_by_role("button", name="español"))
    person.keyboard.press("Enter")
    expect(person.locator("html[lang=es]")).to_be_visible()
    assert person.url.endswith(f"{KEYS}?service=migo")


def test_without_javascript_pages_are_seen_and_their_language_is_chosen(browser: Browser, shown: Site) -> None:
    with browser.new_context(base_url=shown.web, java_script_enabled=False, locale="en-US") as plain:
        page = plain.new_page()
        log_in(page, USERNAME, PASSWORD, then=KEYS)
        expect(page.locator("#result_list")).to_be_visible()
        expect(page.locator("#changelist-filter")).to_be_visible()
        page.locator(".cw-user summary").click()
        page.get_by_role("button", name="español").click()
        expect(page.locator("html[lang=es]")).to_be_visible()
        assert page.url.endswith(KEYS)


def test_without_javascript_the_front_page_leads_to_its_parts_and_promises_nothing(
    browser: Browser, shown: Site
) -> None:
    with browser.new_context(base_url=shown.web, java_script_enabled=False, locale="en-US") as plain:
        page = plain.new_page()
        log_in(page, USERNAME, PASSWORD, then="/admin/")
        expect(page.get_by_text("Lima time.")).to_be_visible()
        expect(page.get_by_text("Refreshes itself")).to_be_hidden()
        expect(page.get_by_text("being drawn")).to_be_hidden()
        for name, heading in (("Last runs", "Warming"), ("Charts as tables", "Paid queries")):
            page.goto("/admin/?period=7d")
            page.get_by_role("link", name=name).click()
            expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
        assert page.url.endswith("?period=7d")


def test_no_key_opens_the_search_that_would_write_into_the_cache(person: Page) -> None:
    person.goto(KEYS)
    wait_for_rest(person)
    person.keyboard.press("Control+k")
    expect(person.locator("[name=s], #search-input-command")).to_have_count(0)
