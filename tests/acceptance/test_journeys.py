"""What people come for, done in real Chromium against real servers, a worker and the sandbox, from the first click."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import PHONE, context, log_in
from tests.http_catcher import HttpCatcher
from tests.rucs import REAL, valid_rucs
from tests.site import PASSWORD, USERNAME, Site
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("pages")]

# Milliseconds: a worker on a busy machine
SOON = 40_000
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
        yield wait_until(lambda: link_in(slack, node.address), 60, message="the message to Slack")
    finally:
        node.restart()


def link_in(slack: HttpCatcher, address: str) -> str:
    """Of the newest message that names the node."""
    for request in reversed(slack.requests):
        text = request.content.decode()
        if address in text and (found := re.search(r"http://[\w.:]+/admin/api_service/incident/\d+/change/", text)):
            return found[0]
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


def test_an_incident_is_acknowledged_with_a_note_and_muted(alert: str, person: Page) -> None:
    person.goto(alert)
    person.get_by_label("Note (optional)").fill("cambio de disco")
    press(person, "Acknowledge")
    expect(content(person)).to_contain_text("cambio de disco")
    expect(content(person)).to_contain_text("open, acknowledged")
    press(person, "Mute for 1 hour")
    expect(content(person)).to_contain_text("open, muted")
    go(person, "incident")
    expect(content(person)).to_contain_text("open, muted")


# -- work


def test_a_warm_up_of_three_rucs_is_started_and_seen_to_end_without_a_reload(person: Page) -> None:
    rucs = valid_rucs(3, start=61_000_000)
    go(person, "warmrun")
    press(person, "Warm now")
    person.get_by_label("RUCs:", exact=True).fill("\n".join(rucs))
    person.get_by_label("Budget").fill("5")
    person.locator("main, #content").get_by_role("button", name="Warm now").first.click()
    person.wait_for_url(re.compile(r"/warmrun/(run/wait|\d+/change)/"))
    expect(content(person)).to_contain_text(re.compile(r"Of 3 RUCs .* [1-3] by APIMIGO with [1-3] paid"), timeout=SOON)


def test_a_service_is_counted_first_and_cleared_when_that_is_confirmed(person: Page, shown: Site) -> None:
    for ruc in REAL[:3]:
        assert shown.process.look_up(ruc).status_code == 200
    assert items(shown) >= 3
    go(person, "clearrun")
    press(person, "Clear a service")
    person.get_by_label("Service").fill("migo")
    press(person, "Count first")
    expect(content(person)).to_contain_text("would be removed, nothing was", timeout=SOON)
    assert items(shown) >= 3
    press(person, "Clear now")
    person.wait_for_url("**/clearrun/*/change/")
    expect(content(person)).to_contain_text("done", timeout=SOON)
    wait_until(lambda: not shown_in_cache(shown, REAL[0]), 20, message="the cleared keys")


def items(shown: Site) -> int:
    return sum(int(node.stats()["curr_items"]) for node in shown.nodes)


def shown_in_cache(shown: Site, ruc: str) -> bool:
    return any(f"ruc_{ruc}" in node.ask("lru_crawler metadump hash") for node in shown.nodes)


def test_a_list_of_rucs_becomes_a_file_that_says_which_are_fit_for_invoicing(person: Page, tmp_path: Path) -> None:
    upload = tmp_path / "clientes.csv"
    upload.write_text("ruc\n" + "\n".join([*valid_rucs(4, start=62_000_000), "20123456789"]) + "\n")
    go(person, "billingrun")
    press(person, "Check a list")
    person.get_by_label("File").set_input_files(upload)
    press(person, "Count first")
    expect(content(person)).to_contain_text("Nothing was paid yet")
    press(person, "Begin")
    download_link = content(person).get_by_role("link", name=re.compile("Download.*CSV", re.IGNORECASE))
    expect(content(person).locator(".cw-badge, .readonly").filter(has_text="done").first).to_be_visible(timeout=SOON)
    with person.expect_download() as waiting:
        download_link.click()
    lines = Path(waiting.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 6
    assert "20123456789" in lines[-1]


# -- for everybody


def test_the_language_stays_as_it_is_chosen(person: Page) -> None:
    go(person, "incident")
    expect(person.locator("html")).to_have_attribute("lang", "en")
    switch_language(person, "Español")
    expect(person.locator("html")).to_have_attribute("lang", "es")
    go(person, "warmrun")
    expect(content(person)).to_contain_text("Precargas")


def switch_language(page: Page, name: str) -> None:
    page.locator(USER_MENU).click()
    page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first.click()


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
    browser: Browser, shown: Site
) -> None:
    with context(browser, shown.web, size=PHONE, language="es") as person:
        page = person.new_page()
        log_in(page, USERNAME, PASSWORD)
        page.get_by_role("button", name="Menú").locator("visible=true").click()
        page.get_by_role("link", name="Incidentes").first.click()
        page.wait_for_url("**/incident/")
        page.locator("#result_list a[href*='/change/']").first.click()
        page.wait_for_url("**/incident/*/change/**")
        expect(content(page).get_by_role("button", name="Reconocer")).to_be_in_viewport()
        assert sideways(page) <= 0


def sideways(page: Page) -> Any:
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")
