"""Old answers are refreshed by workers: asked for once, in batches, and never at the cost of who looks up."""

import json
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from django.db import connections

from api_service.services import refreshing, task_sending
from api_service.services.cache_service import APICacheService
from api_service.services.subjects import Subject
from tests.conftest import UseCacheUrl
from tests.rucs import valid_rucs
from tests.servers import Memcached
from tests.waiting import wait_until

Sent = list[dict[str, Any]]


def subjects(rucs: list[str]) -> list[Subject]:
    return [Subject("migo", "ruc", ruc) for ruc in rucs]


@pytest.fixture
def cache(memcached: Memcached, use_cache_url: UseCacheUrl) -> APICacheService:
    use_cache_url(memcached.url)
    return APICacheService()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, cache: APICacheService) -> Iterator[Sent]:
    """What the broker was given."""
    taken: Sent = []

    def send(task: str, kwargs: dict[str, Any], *, expires: float) -> str:
        taken.append({"task": task, "expires": expires, **kwargs})
        return "id"

    monkeypatch.setattr(task_sending, "send", send)
    yield taken
    connections.close_all()


def idle(refreshes: refreshing.Refreshes) -> bool:
    return not refreshes._sending


def test_what_is_asked_within_a_moment_is_one_task_for_each_hundred(sent: Sent) -> None:
    refreshes, rucs = refreshing.Refreshes(), valid_rucs(250)
    for subject in subjects(rucs):
        refreshes.ask([subject], monotonic())
    wait_until(lambda: idle(refreshes))
    assert sum(len(task["identifiers"]) for task in sent) == 250
    assert len(sent) <= 5
    assert {(task["task"], task["service"], task["kind"], task["expires"]) for task in sent} == {
        ("workers.tasks.refresh_answers", "migo", "ruc", 60)
    }
    assert json.dumps(sent)


def test_one_is_asked_for_once_by_all_threads_and_processes(sent: Sent) -> None:
    one, another = refreshing.Refreshes(), refreshing.Refreshes()
    for _time in range(20):
        one.ask(subjects(valid_rucs(1)), monotonic())
        another.ask(subjects(valid_rucs(1)), monotonic())
    wait_until(lambda: idle(one) and idle(another))
    assert [task["identifiers"] for task in sent] == [valid_rucs(1)]


def test_a_broker_that_is_down_costs_the_caller_nothing_and_the_next_asks_again(
    cache: APICacheService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> str:
        raise task_sending.BrokerDown("no")

    monkeypatch.setattr(task_sending, "send", refuse)
    refreshes = refreshing.Refreshes()
    refreshes.ask(subjects(valid_rucs(3)), now := monotonic())
    wait_until(lambda: idle(refreshes))
    assert "not refreshed" in caplog.text

    taken: list[str] = []

    def accept(_task: str, kwargs: dict[str, Any], *, expires: float) -> str:
        taken.extend(kwargs["identifiers"])
        return "id"

    monkeypatch.setattr(task_sending, "send", accept)
    refreshes.ask(subjects(valid_rucs(3)), now + refreshing.REMEMBERED_SECONDS + 1)
    wait_until(lambda: idle(refreshes))
    assert sorted(taken) == valid_rucs(3)


def test_memory_is_bounded(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "MOST_WAITING", 10)
    refreshes = refreshing.Refreshes()
    refreshes.ask(subjects(valid_rucs(50)), monotonic())
    wait_until(lambda: idle(refreshes))
    assert sum(len(task["identifiers"]) for task in sent) == 10
