"""A tab of a real browser, on the server and the database of a test, with a clock that is played."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import Client
from playwright.sync_api import Page, expect

from tests.browser import chromium, context
from tests.waiting import wait_until


@contextmanager
def tab(web: str, client: Client, patience_ms: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """Of who is logged in with `client`; the test fails when a page has an error.

    A browser for each test: playwright keeps an event loop in this thread, which Django takes for asynchronous code. So
    it begins after the tables are there, and is gone before they are emptied.
    """
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    errors: list[str] = []
    earlier = set(threading.enumerate())
    session = client.cookies["sessionid"].value
    with chromium() as browser, context(browser, web) as person:
        person.add_cookies([{"name": "sessionid", "value": session, "url": web}])
        person.set_default_timeout(patience_ms)
        expect.set_options(timeout=patience_ms)
        opened = person.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.clock.install()
        yield opened
        opened.close()
        # Beside an event loop Django has another connection than without one, which nobody else would close
        connection.close()
    # A thread of the server serves a kept connection, and holds one to the database, until the browser hangs up.
    # Those of servers that other tests had may stay longer
    _wait_for_the_end_of(lambda: [one for one in set(threading.enumerate()) - earlier if _serves(one)])
    assert errors == []


def _serves(thread: threading.Thread) -> bool:
    return "process_request_thread" in thread.name


def _wait_for_the_end_of(threads: Callable[[], list[threading.Thread]]) -> None:
    """Of one that stays, where it stands."""
    try:
        wait_until(lambda: not threads(), timeout=30, message="the end of the connections of a browser that is gone")
    except AssertionError as error:
        frames = sys._current_frames()
        for thread in threads():
            if frame := frames.get(thread.ident or 0):
                error.add_note("".join(traceback.format_stack(frame)))
        raise
