"""Pings to a service that answers, refuses, hangs or is gone: in order, and nobody waits for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from api_service.services.upstream import Patience
from tests.http_catcher import HttpCatcher
from workers.watch import Run, pings

NAME = "monitor-cache-health"
PATH = "/6f0d2b1e-7e57-4c3a-9d7a-000000000001"
RUN = Run(NAME, "workers.tasks.monitor_cache_health", "id-1", 1.25)


@pytest.fixture
def observer(http_catcher: HttpCatcher, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[pings.Pings]:
    """It gives up nothing because this machine is busy."""
    monkeypatch.setattr(pings, "PATIENCE", Patience(connect=60, read=60, deadline=60, attempts=1))
    monkeypatch.setattr(pings, "CLOSE_SECONDS", 60.0)
    settings.PING_URLS = {NAME: f"{http_catcher.url}{PATH}"}
    yield pings.Pings()
    pings.sender.close(5)


def test_start_success_and_failure_arrive_in_their_order(observer: pings.Pings, http_catcher: HttpCatcher) -> None:
    observer.started(RUN)
    observer.succeeded(RUN)
    observer.started(RUN)
    observer.failed(RUN, "OSError: gone")
    observer.close()
    found = [(one.method, one.target, one.content.decode()) for one in http_catcher.received()]
    assert found == [
        ("POST", f"{PATH}/start?rid=id-1", ""),
        ("POST", f"{PATH}?rid=id-1", "workers.tasks.monitor_cache_health took 1.2 s"),
        ("POST", f"{PATH}/start?rid=id-1", ""),
        ("POST", f"{PATH}/fail?rid=id-1", "OSError: gone"),
    ]


def test_a_schedule_without_an_address_pings_nobody(observer: pings.Pings, http_catcher: HttpCatcher) -> None:
    observer.started(Run("clean-up", "workers.tasks.clean_up", "id-2"))
    observer.close()
    assert http_catcher.received() == []


def test_a_failure_is_told_shortly_and_without_secrets(
    observer: pings.Pings, http_catcher: HttpCatcher, settings: Any
) -> None:
    observer.failed(RUN, f"refused with postgres://user:very-secret-password@db/x {'x' * 5000}")
    observer.close()
    (ping,) = http_catcher.received()
    assert len(ping.content) == pings.LONGEST_BODY
    assert b"very-secret-password" not in ping.content


@pytest.mark.parametrize("status", [404, 429, 500])
def test_a_refusal_is_a_line_in_the_log_without_the_address_and_the_next_ping_goes_on(
    observer: pings.Pings, http_catcher: HttpCatcher, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    http_catcher.answer(f"{PATH}/start", status=status)
    with caplog.at_level(logging.WARNING):
        observer.started(RUN)
        observer.succeeded(RUN)
        observer.close()
    assert [one.path for one in http_catcher.received()] == [f"{PATH}/start", PATH]
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(status) in line
    assert PATH not in line


def test_a_service_that_hangs_holds_up_no_task_and_its_pings_do_not_pile_up(
    observer: pings.Pings, http_catcher: HttpCatcher, caplog: pytest.LogCaptureFixture
) -> None:
    go = threading.Event()
    http_catcher.answer(f"{PATH}/start", hold=go)
    observer.started(RUN)
    http_catcher.wait_for(1)
    for _ in range(pings.MOST_WAITING + 3):
        observer.succeeded(RUN)
    # Whoever waited for the service would still wait, and all of these be delivered or given up
    assert len(http_catcher.received()) == 1
    go.set()
    observer.close()
    assert len(http_catcher.received()) == 1 + pings.MOST_WAITING
    assert caplog.text.count("ping dropped") == 3


def test_a_service_that_is_gone_costs_nothing(
    observer: pings.Pings, settings: Any, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings.PING_URLS = {NAME: f"http://127.0.0.1:{free_port}{PATH}"}
    observer.started(RUN)
    observer.close()
    assert "ping not delivered" in caplog.text


def test_after_its_end_it_begins_anew(observer: pings.Pings, http_catcher: HttpCatcher) -> None:
    observer.started(RUN)
    observer.close()
    observer.succeeded(RUN)
    observer.close()
    assert len(http_catcher.received()) == 2
