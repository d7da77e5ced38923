"""The first page in a real browser: it follows the database, keeps what a person is doing, and rests while unseen.

The page's clock is played, so that ten seconds take none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect
from pytest_django.live_server_helper import LiveServer

from api_service import models
from tests.integration.admin.conftest import Rows
from tests.integration.admin.tab import tab

pytestmark = pytest.mark.django_db(transaction=True)

REFRESH_MS, CHARTS_MS = 10_000, 60_000
# Of real time, on a machine that is busy with other tests
PATIENCE_MS = 20_000
HIDDEN = """(state) => {
    Object.defineProperty(document, "visibilityState", {get: () => state, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
CHART = "Chart.getChart(document.querySelector('canvas'))"
LINE_COLOUR = f"{CHART}.data.datasets[0].borderColor"


@pytest.fixture
def page(
    the_hour_stays: None, live_server: LiveServer, rows: Rows, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    """The first page with its charts."""
    with tab(live_server.url, admin_client, PATIENCE_MS, monkeypatch) as opened:
        opened.goto("/admin/")
        expect(opened.locator("canvas").first).to_be_visible()
        yield opened


def wait(page: Page, milliseconds: int) -> None:
    page.clock.run_for(milliseconds)


def heal() -> None:
    models.HealthSample.objects.create(
        taken_at=timezone.now(), status="healthy", backend="memcached", duration_ms=1, findings=[]
    )


def test_a_change_shows_within_ten_seconds_and_is_announced_once(page: Page) -> None:
    expect(page.get_by_role("heading", name="The cache has failures")).to_be_visible()
    page.evaluate("window.isTheSamePage = true")
    heal()
    wait(page, REFRESH_MS)
    expect(page.get_by_role("heading", name="The cache is healthy")).to_be_visible()
    expect(page.locator("[data-cw-announce]")).to_have_text("The cache is healthy")
    assert page.evaluate("window.isTheSamePage")


def test_a_refresh_that_changes_no_verdict_is_not_announced(page: Page) -> None:
    with page.expect_response("**/admin/dashboard/now/**"):
        wait(page, REFRESH_MS)
    expect(page.locator("[data-cw-announce]")).to_have_text("")


def test_a_page_that_nobody_sees_asks_for_nothing_until_it_is_seen(page: Page) -> None:
    asked: list[str] = []
    page.evaluate(HIDDEN, "hidden")
    # Only now: its clock runs on by itself, and it may have asked just before
    page.on("request", lambda request: asked.append(request.url))
    wait(page, 10 * CHARTS_MS)
    assert asked == []
    with page.expect_response("**/admin/dashboard/now/**"), page.expect_response("**/admin/dashboard/charts/**"):
        page.evaluate(HIDDEN, "visible")


def test_what_is_open_stays_open_and_what_has_the_focus_keeps_it(page: Page) -> None:
    page.locator("#show-calls").click()
    page.locator("#period-7d").focus()
    models.SpendHour.objects.update(queries=4321)
    with page.expect_response("**/admin/dashboard/charts/**"):
        wait(page, CHARTS_MS)
    expect(page.locator("#data-calls").get_by_text("4,321")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "period-7d"
    assert page.locator("#data-lookups").get_attribute("open") is None


def test_whoever_is_marking_a_text_is_not_disturbed(page: Page) -> None:
    page.evaluate("document.getSelection().selectAllChildren(document.querySelector('#cw-now h2'))")
    heal()
    with page.expect_response("**/admin/dashboard/runs/**"):
        wait(page, REFRESH_MS)
    expect(page.get_by_role("heading", name="The cache has failures")).to_be_visible()
    page.evaluate("document.getSelection().removeAllRanges()")
    wait(page, REFRESH_MS)
    expect(page.get_by_role("heading", name="The cache is healthy")).to_be_visible()


def outdated(page: Page) -> Locator:
    return page.get_by_role("alert").filter(has_text="The server does not answer")


def test_a_part_without_an_answer_is_said_until_it_has_one_whatever_the_others_get(page: Page) -> None:
    expect(outdated(page)).to_be_hidden()
    page.route("**/admin/dashboard/now/**", lambda route: route.abort())
    with page.expect_event("requestfailed"), page.expect_response("**/admin/dashboard/runs/**"):
        wait(page, REFRESH_MS)
    page.wait_for_function("!document.querySelector('.htmx-request')")
    expect(outdated(page)).to_be_visible()
    page.unroute("**/admin/dashboard/now/**")
    wait(page, REFRESH_MS)
    expect(outdated(page)).to_be_hidden()


def test_a_server_that_hangs_is_one_that_does_not_answer(page: Page) -> None:
    assert 0 < page.evaluate("htmx.config.timeout") < REFRESH_MS
    page.evaluate("htmx.config.timeout = 200")  # of real time
    page.route("**/admin/dashboard/now/**", lambda _route: None)
    wait(page, REFRESH_MS)
    expect(outdated(page)).to_be_visible()
    page.evaluate("htmx.config.timeout = 0")
    page.unroute("**/admin/dashboard/now/**")
    wait(page, REFRESH_MS)
    expect(outdated(page)).to_be_hidden()


def test_whose_session_has_ended_comes_to_the_log_in(page: Page) -> None:
    Session.objects.all().delete()
    wait(page, REFRESH_MS)
    page.wait_for_url("**/admin/login/**")


def test_charts_follow_the_theme(page: Page) -> None:
    light = page.evaluate(LINE_COLOUR)
    page.evaluate("document.documentElement.classList.add('dark')")
    page.wait_for_function(f"{LINE_COLOUR} !== '{light}'")


def test_a_value_between_two_gaps_is_a_dot(page: Page) -> None:
    radius = f"{CHART}.getDatasetMeta(0).data.at(-1).options.radius"
    assert page.evaluate(radius) == 3
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    models.LookupHour.objects.create(hour=hour, service="migo", kind="ruc", outcome="hit", count=5)
    with page.expect_response("**/admin/dashboard/charts/**"):
        wait(page, CHARTS_MS)
    page.wait_for_function(f"{radius} === 0")
