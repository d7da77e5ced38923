"""The policies of our pages, in a real browser: what is foreign is refused. That nothing which a page needs is refused
is looked for on the way of `test_every_page.py`, which visits the pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.refusals import note_refusals, refused
from tests.browser import context, log_in
from tests.site import PASSWORD, USERNAME, Site

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("pages")]


@pytest.fixture(scope="module")
def person(browser: Browser, shown: Site) -> Iterator[Page]:
    with context(browser, shown.web) as with_cookies:
        page = with_cookies.new_page()
        note_refusals(page)
        log_in(page, USERNAME, PASSWORD)
        yield page


def test_what_stands_in_a_page_is_not_run_and_nothing_foreign_is_loaded(person: Page) -> None:
    """What a row could smuggle into a page, had it ever got past the escaping."""
    person.goto("/admin/")
    person.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.smuggled = true";
            const handler = document.createElement("p");
            handler.setAttribute("onclick", "window.smuggled = true");
            const image = document.createElement("img");
            image.src = "http://203.0.113.7/?stolen";
            document.body.append(script, handler, image);
            handler.click();
        }"""
    )
    person.wait_for_function("window.refused.length >= 3")
    assert person.evaluate("window.smuggled") is None
    directives = {said.partition(" ")[0] for said in refused(person)}
    assert directives == {"script-src-elem", "script-src-attr", "img-src"}


def test_another_site_cannot_show_it_in_a_frame(browser: Browser, shown: Site) -> None:
    with context(browser, shown.web) as stranger:
        page = stranger.new_page()
        with page.expect_event("requestfailed") as failed:
            page.set_content(f'<iframe src="{shown.web}/admin/login/"></iframe>')
        assert "login" in failed.value.url
