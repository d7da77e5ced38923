"""What is under way keeps its page up to date, in a real browser: without a reload, not while unseen, until it is over.

The page's clock is played, so that two seconds take none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from time import time

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from api_service.models import BillingRun, WarmRun
from api_service.services import warming
from tests.integration.admin.conftest import leased
from tests.integration.admin.tab import tab

pytestmark = pytest.mark.django_db(transaction=True)

WARM = "/admin/api_service/warmrun/"
TURN_MS = 2_000
# Of real time, on a machine that is busy with other tests
PATIENCE_MS = 20_000
HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", {get: () => hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
# A reload would lose it
MARK = "window.markOfThisTest = true"
IS_SAME = "() => window.markOfThisTest === true"


@pytest.fixture
def run(db: None) -> WarmRun:
    leased(warming.LOCK, until=timezone.now() + timedelta(minutes=10))
    return WarmRun.objects.create(
        started_at=timezone.now(), limit=9, budget=9, candidates=9, refreshed=1, requested_by="admin"
    )


@pytest.fixture
def page(
    live_server: LiveServer, run: WarmRun, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    with tab(live_server.url, admin_client, PATIENCE_MS, monkeypatch) as opened:
        yield opened


def open_run(page: Page, run: WarmRun) -> None:
    page.goto(f"{WARM}{run.pk}/change/")
    page.evaluate(MARK)


def test_figures_follow_without_a_reload_until_it_is_over(page: Page, run: WarmRun) -> None:
    open_run(page, run)
    expect(page.locator(".cw-next")).to_contain_text("1 by APIMIGO")
    WarmRun.objects.update(refreshed=5)
    page.clock.run_for(TURN_MS)
    expect(page.locator(".cw-next")).to_contain_text("5 by APIMIGO")
    expect(page.locator("[role=status].cw-spoken")).to_contain_text("5 by APIMIGO")
    assert page.evaluate(IS_SAME)
    WarmRun.objects.update(state="done", finished_at=timezone.now())
    page.clock.run_for(TURN_MS)
    expect(page.locator("[data-live]")).to_have_count(0)
    expect(page.locator("#content-main")).to_contain_text("done")
    assert not page.evaluate(IS_SAME)


def looked_again(page: Page) -> None:
    """Two looks: the second is asked for when the first has been shown."""
    look(page)
    look(page)


def look(page: Page) -> None:
    """Time stands still until the answer is there: by the same clock a look is given up."""
    asked: list[str] = []
    page.once("request", lambda request: asked.append(request.url))
    with page.expect_response(page.url):
        while not asked:
            page.clock.run_for(TURN_MS // 20)


def test_what_has_not_changed_is_left_as_it_is(page: Page, run: WarmRun) -> None:
    WarmRun.objects.update(started_at=timezone.now() - timedelta(days=40))
    open_run(page, run)
    assert page.locator("#content-main input[name=csrfmiddlewaretoken]").count() > 0
    looked_again(page)
    page.evaluate("window.kept = document.querySelector('#content-main .cw-next')")
    looked_again(page)
    assert page.evaluate("window.kept.isConnected")


def test_what_a_person_has_selected_stays_selected(page: Page, run: WarmRun) -> None:
    open_run(page, run)
    page.locator(".cw-next").select_text()
    WarmRun.objects.update(refreshed=6)
    looked_again(page)
    assert "1 by APIMIGO" in page.evaluate("getSelection().toString()")
    page.evaluate("getSelection().removeAllRanges()")
    looked_again(page)
    expect(page.locator(".cw-next")).to_contain_text("6 by APIMIGO")


def test_the_control_that_had_the_focus_has_it_again(page: Page) -> None:
    now = timezone.now()
    billing = BillingRun.objects.create(
        uploaded_at=now, queued_at=now, requested_by="admin", state="waiting", lines=9, distinct=9, to_pay=9, budget=9
    )
    page.goto(f"/admin/api_service/billingrun/{billing.pk}/change/")
    cancel = page.get_by_role("button", name="Cancel the run")
    cancel.focus()
    page.evaluate("window.former = document.activeElement")
    BillingRun.objects.update(checked=7)
    looked_again(page)
    assert not page.evaluate("window.former.isConnected")
    expect(cancel).to_be_focused()


def test_nothing_is_asked_for_while_nobody_sees_it(page: Page, run: WarmRun) -> None:
    open_run(page, run)
    asked: list[str] = []
    page.evaluate(HIDDEN, True)  # noqa: FBT003 - playwright's signature
    # Only now: its clock runs on by itself, and it may have looked just before
    page.on("request", lambda request: asked.append(request.url) if "/static/" not in request.url else None)
    page.clock.run_for(20 * TURN_MS)
    assert asked == []
    WarmRun.objects.update(refreshed=7)
    page.evaluate(HIDDEN, False)  # noqa: FBT003 - playwright's signature
    page.clock.run_for(TURN_MS)
    expect(page.locator(".cw-next")).to_contain_text("7 by APIMIGO")


def test_a_server_that_fails_for_a_moment_is_asked_again(page: Page, run: WarmRun) -> None:
    open_run(page, run)
    page.route("**/change/", lambda route: route.abort())
    with page.expect_console_message(lambda message: "not loaded again" in message.text):
        page.clock.run_for(TURN_MS)
    page.unroute("**/change/")
    WarmRun.objects.update(refreshed=8)
    page.clock.run_for(TURN_MS)
    expect(page.locator(".cw-next")).to_contain_text("8 by APIMIGO")


def test_who_waits_is_taken_to_the_run_when_it_begins(page: Page, run: WarmRun) -> None:
    page.goto(f"{WARM}run/wait/?after={run.pk}&at={int(time())}")
    expect(page.locator(".cw-next")).to_contain_text("Another one is under way")
    begun = WarmRun.objects.create(started_at=timezone.now(), limit=1, budget=1, requested_by="admin")
    page.clock.run_for(TURN_MS)
    page.wait_for_url(f"**{WARM}{begun.pk}/change/")
