"""One running site for all tests of pages: they are of one group, so one process starts it once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import chromium, context, log_in
from tests.http_catcher import HttpCatcher
from tests.servers import Redis
from tests.site import PASSWORD, USERNAME, Site, site


@pytest.fixture(scope="session")
def slack() -> Iterator[HttpCatcher]:
    with HttpCatcher() as catcher:
        yield catcher


@pytest.fixture(scope="session")
def copies() -> Iterator[Redis]:
    """The cache that is copied to."""
    server = Redis().start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory, slack: HttpCatcher, copies: Redis) -> Iterator[Site]:
    """With a small past. What counts, counts at first sight, however often its node has been down before."""
    settings = {
        "SLACK_WEBHOOK_URL": f"{slack.url}/services/T/B/x",
        "COPY_CACHE_URL": copies.url,
        "HEALTH_RULES": ",".join(f"{code}=1/1/1" for code in ("node_down", "node_slow", "hit_ratio_low")),
        "ALERT_FLAP_CHANGES": "0",
    }
    # A run of the schedule would be in the way of one by hand, which then does nothing
    off = ("warm-frequent-rucs", "track-keys")
    with site(tmp_path_factory.mktemp("site"), "small", off=off, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For no longer than one module: playwright's event loop is in this thread, and Django would refuse every query of
    the tests that follow."""
    with chromium() as running:
        yield running


@pytest.fixture
def person(browser: Browser, shown: Site) -> Iterator[Page]:
    """A tab of the administrator."""
    with context(browser, shown.web) as with_cookies:
        page = with_cookies.new_page()
        log_in(page, USERNAME, PASSWORD)
        yield page
