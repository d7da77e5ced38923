"""The task: it judges what it saw, and repeats itself soon where that contradicts what is known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from django.utils import timezone
from pytest_django import Settings

from api_service.models import HealthSample, Incident
from tests.conftest import UseCacheUrl
from tests.servers import Memcached, Redis
from workers import tasks

pytestmark = pytest.mark.django_db
MONITOR = "workers.tasks.monitor_cache_health"


@pytest.fixture
def node(own_memcached: Memcached, use_cache_url: UseCacheUrl) -> Memcached:
    use_cache_url(own_memcached.url)
    return own_memcached


class Queue:
    """The monitor's messages to itself, in the (memory) broker."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def repeats(self) -> list[tuple[int, datetime]]:
        """How often before, and when."""
        found = []
        while message := self.channel.basic_get("health", no_ack=True):
            if message.headers["task"] == MONITOR:
                due = datetime.fromisoformat(message.headers["eta"])
                found.append((message.decode()[1]["confirming"], due))
        return found


@pytest.fixture
def queue() -> Iterator[Queue]:
    with current_app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        channel.queue_declare(queue="health")
        channel.queue_purge("health")
        yield Queue(channel)


def test_a_quiet_run_asks_for_no_other(node: Memcached, queue: Queue) -> None:
    summary = tasks.monitor_cache_health()
    assert (summary["state"], summary["status"], queue.repeats()) == ("done", "healthy", [])
    assert HealthSample.objects.get().judged_at is not None


def test_a_dead_node_is_an_incident_after_one_more_run_within_seconds(node: Memcached, queue: Queue) -> None:
    node.kill()
    began = timezone.now()
    assert tasks.monitor_cache_health()["status"] == "healthy"
    ended = timezone.now()
    ((number, due),) = queue.repeats()
    assert number == 1
    assert began <= due - timedelta(seconds=20) <= ended
    assert tasks.monitor_cache_health(confirming=1)["status"] == "unhealthy"
    assert (Incident.objects.get().code, queue.repeats()) == ("node_down", [])
    node.restart()
    # Back: believed at the second answer
    tasks.monitor_cache_health()
    assert [number for number, _due in queue.repeats()] == [1]
    tasks.monitor_cache_health(confirming=1)
    assert Incident.objects.get(code="node_down").resolved_at is not None


def test_after_three_in_a_row_the_schedule_decides(node: Memcached, queue: Queue) -> None:
    node.kill()
    tasks.monitor_cache_health(confirming=3)
    assert queue.repeats() == []


def test_it_can_be_switched_off(node: Memcached, queue: Queue, settings: Settings) -> None:
    settings.HEALTH_CONFIRM_SECONDS = 0
    node.kill()
    tasks.monitor_cache_health()
    assert queue.repeats() == []


def test_a_broker_that_is_down_is_no_error_of_the_run(
    node: Memcached, own_redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own_redis.kill()
    monkeypatch.setattr(current_app.conf, "broker_url", own_redis.url)
    monkeypatch.setattr(tasks, "_send_soon", lambda: True)
    node.kill()
    assert tasks.monitor_cache_health()["state"] == "done"
    assert "the broker did not take the task" in caplog.text


def test_arguments_that_nobody_meant_are_refused_in_a_line(node: Memcached) -> None:
    often: Any = "often"
    with pytest.raises(ValueError, match="confirming"):
        tasks.monitor_cache_health(confirming=often)
