"""What a browser transfers for the first load of a page: HTML, styles, scripts, fonts, as gunicorn and WhiteNoise send
them after `collectstatic`, without a proxy before them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

from playwright.sync_api import Browser

from tests.benchmarks.api import gunicorn
from tests.browser import chromium, context, wait_for_rest
from tests.processes import find_binary, missing_message

PAGES = {
    "login": "/admin/login/",
    "front page": "/admin/",
    "incidents": "/admin/api_service/incident/",
    "keys": "/admin/api_service/trackedkey/",
}


@dataclass(frozen=True)
class Weight:
    MOST: ClassVar[float] = 1.5e6

    page: str
    bytes: int
    requests: int

    @property
    def is_within(self) -> bool:
        return self.bytes <= self.MOST

    @property
    def kilobytes(self) -> float:
        return self.bytes / 1000


def weights() -> list[Weight]:
    """Of who is logged in, with an empty browser cache each."""
    if find_binary("chromium") is None:
        print(missing_message("chromium"), file=sys.stderr)
        return []
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)
    session = session_key()
    with gunicorn() as server, chromium() as browser:
        web = f"http://localhost:{server.port}"
        return [weigh(browser, web, name, url, session) for name, url in PAGES.items()]


def session_key() -> str:
    from tests.benchmarks.pages import logged_in

    return logged_in().cookies["sessionid"].value


def weigh(browser: Browser, web: str, name: str, url: str, session: str) -> Weight:
    with context(browser, web) as person:
        if "login" not in url:
            person.add_cookies([{"name": "sessionid", "value": session, "url": web}])
        page = person.new_page()
        received: list[int] = []
        network = person.new_cdp_session(page)
        network.on("Network.loadingFinished", lambda event: received.append(int(event["encodedDataLength"])))
        network.send("Network.enable")
        answer = page.goto(url)
        assert answer is not None
        assert answer.ok, (url, answer.status)
        wait_for_rest(page)
        return Weight(name, sum(received), len(received))
