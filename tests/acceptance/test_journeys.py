"""The ways to what people come for, in Chromium: from an alert, by keys, on a phone. What they do then: `actions/`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.acceptance.actions.incidents import checked
from tests.browser import PHONE, context, log_in
from tests.http_catcher import HttpCatcher
from tests.site import PASSWORD, USERNAME, Site

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("pages")]

USER_MENU = ".cw-user > summary"
TABS = 200


def go(page: Page, table: str) -> None:
    page.goto(f"/admin/api_service/{table}/")


def press(page: Page, name: str) -> None:
    """The button or link of that name in what the page is about: the sidebar has links of the same names."""
    main = page.locator("#main, main, #content").first
    main.get_by_role("button", name=name).or_(main.get_by_role("link", name=name)).first.click()


def content(page: Page) -> Locator:
    return page.locator("#content-main, #content, main").first


# -- trouble


@pytest.fixture
def alert(shown: Site, slack: HttpCatcher, person: Page) -> Iterator[str]:
    """The address in the message to Slack that tells of a node that is down; it is up again afterwards."""
    node = shown.nodes[2]
    node.stop()
    try:
        go(person, "healthsample")
        press(person, "Check now")
        # That run does nothing while another is under way, which may have met the node before
        yield checked(shown, lambda: link_in(slack, node.address))
    finally:
        node.restart()


def link_in(slack: HttpCatcher, address: str) -> str:
    """To the incident of the node, in the newest message that tells of it: a message may tell of others, too."""
    for request in reversed(slack.requests):
        for block in json.loads(request.content)["blocks"]:
            text = block.get("text", {}).get("text", "")
            link = re.search(r"http://[\w.:]+/admin/api_service/incident/\d+/change/", text)
            if link and address in text and "node_down" in text:
                return link[0]
    return ""


def test_from_the_alert_in_slack_to_the_cause_in_three_clicks(alert: str, browser: Browser, shown: Site) -> None:
    """The link, and not more than two clicks after it; the log-in is none."""
    with context(browser, shown.web) as stranger:
        page = stranger.new_page()
        page.goto(alert)
        page.locator("[name=username]").fill(USERNAME)
        page.locator("[name=password]").fill(PASSWORD)
        page.locator("[name=password]").press("Enter")
        page.wait_for_url("**/incident/**")
        expect(content(page)).to_contain_text("node does not answer")
        expect(content(page)).to_contain_text("See whether its process runs")
        content(page).get_by_role("link", name=re.compile(r"^\d{4}-")).first.click()
        page.wait_for_url("**/healthsample/**")
        expect(content(page)).to_contain_text("refused")
        expect(content(page)).to_contain_text(shown.nodes[2].address)


# -- for everybody


def test_an_incident_is_opened_with_the_keyboard_alone(browser: Browser, shown: Site) -> None:
    with context(browser, shown.web) as person:
        page = person.new_page()
        page.goto("/admin/")
        tab_to(page, "[name=username]")
        page.keyboard.type(USERNAME)
        tab_to(page, "[name=password]")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/login/" not in url)
        tab_to(page, USER_MENU)
        page.keyboard.press("Enter")
        tab_to(page, "#logout-form button")
        page.goto("/admin/")
        tab_to(page, "a[href$='/incident/']")
        page.keyboard.press("Enter")
        page.wait_for_url("**/incident/")
        tab_to(page, "#result_list a[href*='/change/']")
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
        page.keyboard.press("Enter")
        page.wait_for_url("**/incident/*/change/**")


def tab_to(page: Page, selector: str) -> None:
    for _ in range(TABS):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not get to {selector} in {TABS} steps")


def test_on_a_phone_the_incidents_are_found_through_the_menu_and_nothing_is_out_of_sight(
    alert: str, browser: Browser, shown: Site
) -> None:
    """Down to one that stays open: a health run may end any other meanwhile."""
    with context(browser, shown.web, size=PHONE, language="es") as person:
        page = person.new_page()
        log_in(page, USERNAME, PASSWORD)
        page.get_by_role("button", name="Menú").locator("visible=true").click()
        page.get_by_role("link", name="Incidentes").first.click()
        page.wait_for_url("**/incident/")
        page.locator(f"#result_list a[href*='{urlsplit(alert).path}']").first.click()
        page.wait_for_url("**/incident/*/change/**")
        expect(content(page).get_by_role("button", name="Reconocer")).to_be_in_viewport()
        assert sideways(page) <= 0


def sideways(page: Page) -> Any:
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")
