"""Broker and workers as a health run sees them: a real Redis that is filled, down and frozen, and real workers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic, time
from typing import Any
from unittest.mock import patch

import pytest
from celery import current_app
from celery.contrib.testing.worker import start_worker
from pytest_django.fixtures import Settings
from redis import Redis as RedisClient

from api_service.models import HealthSample
from api_service.services import around, bounded, task_sending
from api_service.services.around import broker as broker_reading
from api_service.services.around import workers as workers_reading
from api_service.services.around.reading import Moment, Seen
from api_service.services.cache_service import APICacheService
from tests.brokers import celery_broker
from tests.integration.services.conftest import ROOT
from tests.servers import Redis
from tests.waiting import wait_until
from workers import schedules
from workers.tasks import monitor_cache_health

QUEUES = sorted(schedules.QUEUES)
WORKER = [sys.executable, "-m", "celery", "-A", "myproject", "worker", "--without-mingle", "--without-gossip"]
TASK = "workers.tasks.warm_frequent_rucs"


@pytest.fixture
def broker(own_redis: Redis) -> Iterator[Redis]:
    """Celery's broker is this Redis until the test ends."""
    with celery_broker(own_redis.url):
        yield own_redis


@pytest.fixture
def asked(settings: Settings) -> None:
    settings.HEALTH_WORKERS_SECONDS = 0.5


def client(server: Redis) -> "RedisClient":
    return RedisClient(port=server.port, db=0)


def look(later: float = 0.0, own_queue: str = "") -> Seen:
    return broker_reading.read(Moment(datetime.now(UTC) + timedelta(seconds=later), own_queue))


def ask(own_queue: str = "") -> Seen:
    return workers_reading.read(Moment(datetime.now(UTC), own_queue))


def told_by_a_worker() -> Seen | None:
    """None until one answers in time, which it may not at once on a busy machine."""
    seen = ask(around.own_queue())
    return seen if seen.facts.get("answered") else None


def purge(queue: str) -> None:
    with task_sending.impatient_connection(1) as connection:
        channel: Any = connection.default_channel
        channel.queue_purge(queue)


def send_as_others_do(priority: int = 0) -> None:
    """On a new connection: those of the pool are another test's."""
    with current_app.connection_for_write() as connection:
        current_app.send_task(TASK, ignore_result=True, connection=connection, priority=priority)


def told(seen: Seen) -> list[tuple[str, str, object]]:
    return [(finding.code, finding.node, finding.value) for finding in seen.findings]


def test_the_queues_are_those_that_tasks_are_sent_to() -> None:
    assert task_sending.queues() == QUEUES
    assert task_sending.queue_of(workers_reading.MONITOR) == "health"
    assert task_sending.queue_of("unknown.task") == "default"
    assert monitor_cache_health.name == workers_reading.MONITOR


def test_every_task_says_when_it_was_sent(broker: Redis) -> None:
    before = time()
    task_sending.send(TASK, {})
    send_as_others_do()
    sent = [json.loads(text)["headers"]["sent_at"] for text in client(broker).lrange("warming", 0, -1)]

    assert len(sent) == 2
    assert before <= sent[1] <= sent[0] <= time()


def test_an_idle_broker_is_well(broker: Redis) -> None:
    seen = look()

    assert (seen.facts["transport"], seen.facts["reachable"], seen.facts["unacked"]) == ("redis", True, 0)
    assert seen.facts["queues"] == {name: {"length": 0, "oldest_seconds": None} for name in QUEUES}
    assert (told(seen), seen.unknown) == ([], frozenset())


def test_long_and_old_queues_are_told_by_what_is_taken_next(broker: Redis, settings: Settings) -> None:
    settings.HEALTH_QUEUE_LENGTH, settings.HEALTH_QUEUE_SECONDS = 2, 60.0
    for _ in range(3):
        task_sending.send(TASK, {})
    soon, late = look(), look(later=100)

    assert told(soon) == [("queue_long", "warming", 3)]
    assert [(code, node) for code, node, _value in told(late)] == [("queue_long", "warming"), ("queue_old", "warming")]
    assert late.findings[1].value == pytest.approx(100, abs=20)
    assert late.facts["queues"]["warming"]["oldest_seconds"] == pytest.approx(100, abs=20)
    # It only looked
    assert client(broker).llen("warming") == 3


def test_each_priority_has_a_list_of_its_own_and_counts(broker: Redis) -> None:
    for priority in (0, 3, 9):
        send_as_others_do(priority=priority)
    other = json.dumps({"headers": {"sent_at": time() - 50}})
    client(broker).rpush("warming\x06\x166", other)
    seen = look().facts["queues"]["warming"]

    assert seen["length"] == 4
    assert seen["oldest_seconds"] == pytest.approx(50, abs=20)


@pytest.mark.parametrize("message", ["no json", "[]", '{"headers": null}', '{"headers": {"sent_at": "noon"}}'])
def test_a_message_of_somebody_else_has_no_age(broker: Redis, message: str) -> None:
    client(broker).rpush("warming", message)

    assert look().facts["queues"]["warming"] == {"length": 1, "oldest_seconds": None}


@pytest.mark.parametrize("trouble", ["kill", "freeze"])
def test_a_broker_that_is_dead_or_frozen_is_told_within_two_seconds(broker: Redis, asked: None, trouble: str) -> None:
    getattr(broker, trouble)()
    started = monotonic()
    seen, workers = look(), ask()

    # Two on a machine that does nothing else
    assert monotonic() - started < 10
    [finding] = seen.findings
    assert (finding.code, finding.severity) == ("broker_down", "unhealthy")
    assert seen.facts["reachable"] is False
    assert seen.unknown == {("queue_long", "*"), ("queue_old", "*")}
    # Whose workers live nobody can say, and one alert is enough
    assert (told(workers), workers.unknown) == ([], frozenset({("workers_missing", "*")}))


@pytest.mark.django_db(transaction=True)
def test_a_whole_run_with_a_frozen_broker_ends_within_five_seconds(
    broker: Redis, asked: None, cache: APICacheService, settings: Settings
) -> None:
    settings.HEALTH_AROUND_SECONDS = 10.0
    broker.freeze()
    started = monotonic()
    with patch("workers.tasks.dispatch.deliver_due", autospec=True, return_value={}) as deliver:
        summary = monitor_cache_health()

    # Less than five on a machine that does nothing else
    assert monotonic() - started < 10
    assert summary["findings"] == ["broker_down"]
    # Of the whole run, what was read around the nodes included
    assert HealthSample.objects.get(pk=summary["sample"]).duration_ms >= broker_reading.SECONDS * 1000
    # Nobody else will: neither a task nor Beat's gets through
    assert deliver.call_count == 1
    bounded.stop_threads(10)


@pytest.fixture
def empty_memory() -> None:
    """What other tests of this process have sent into its broker is nobody's business here."""
    for queue in QUEUES:
        purge(queue)


@pytest.mark.usefixtures("empty_memory")
def test_the_broker_of_the_single_process_says_so_and_is_read_as_well(settings: Settings) -> None:
    settings.HEALTH_QUEUE_SECONDS = 60.0
    for queue in QUEUES:
        purge(queue)
    task_sending.send(TASK, {})
    seen = look(later=100)
    purge("warming")

    assert (seen.facts["transport"], seen.facts["unacked"]) == ("memory", None)
    assert [(finding.code, finding.node) for finding in seen.findings] == [("queue_old", "warming")]
    assert look(later=100).findings == []


# -- workers


def test_workers_are_found_by_queue_and_those_of_no_queue_are_missed(
    broker: Redis, asked: None, settings: Settings
) -> None:
    worker = subprocess.Popen(
        [*WORKER, "-Q", "health,default", "-c", "1", "-n", "one@test"],
        cwd=ROOT,
        env={**os.environ, "CELERY_BROKER_URL": broker.url, "CACHE_URL": "memcached://127.0.0.1:1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        seen = wait_until(told_by_a_worker, timeout=60, message="a worker that answers")
        assert seen is not None
        started = monotonic()
        quick, took = served_by_one(), monotonic() - started
    finally:
        worker.kill()
        worker.wait(10)
    settings.HEALTH_WORKERS_SECONDS = 1.0
    gone, from_inside = ask(), ask(own_queue="health")

    assert seen.facts["answered"] == {"one@test": ["default", "health"]}
    assert seen.facts["queues"] == {"default": 1, "health": 1, "tracking": 0, "warming": 0}
    assert told(seen) == [("workers_missing", "tracking", ""), ("workers_missing", "warming", "")]
    # Once all are there nobody waits for more
    assert quick == {"one@test": ["default", "health"]}
    assert took < 20
    assert [finding.node for finding in gone.findings] == QUEUES
    assert [f.node for f in gone.findings if f.severity == "unhealthy"] == ["health"]
    assert (told(from_inside), {node for _code, node in from_inside.unknown}) == (
        [],
        {"default", "tracking", "warming"},
    )


def served_by_one() -> dict[str, list[str]]:
    with task_sending.impatient_connection(30) as connection:
        return workers_reading.ask(connection, 30, ["default", "health"])


@pytest.mark.usefixtures("empty_memory")
@pytest.mark.django_db(transaction=True)
def test_inside_the_single_process_the_monitor_hears_its_own_worker(
    asked: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker is memory, the worker a thread of this process, and the reading is done by one of its tasks."""
    # Celery's logging leaves them in the environment
    for name in ("CELERY_LOG_LEVEL", "CELERY_LOG_FILE", "CELERY_LOG_REDIRECT", "CELERY_LOG_REDIRECT_LEVEL"):
        monkeypatch.setenv(name, "")
    heard: list[Any] = []

    @current_app.task(name="tests.ask_from_within")
    def ask_from_within() -> None:
        heard.append((around.own_queue(), wait_until(told_by_a_worker)))

    with start_worker(
        current_app, pool="threads", concurrency=2, queues=["health"], perform_ping_check=False, loglevel=40
    ):
        # On a connection of its own, as above
        task_sending.send(ask_from_within.name, {}, queue="health")
        wait_until(lambda: heard, timeout=30)
    own_queue, seen = heard[0]

    assert own_queue == "health"
    assert list(seen.facts["queues"].values()) == [0, 1, 0, 0]
    assert [finding.node for finding in seen.findings] == ["default", "tracking", "warming"]


def test_where_the_broker_is_memory_and_nobody_answers_nothing_is_said(asked: None, settings: Settings) -> None:
    settings.HEALTH_WORKERS_SECONDS = 0.1
    seen = ask()

    assert told(seen) == []
    assert seen.unknown == {("workers_missing", queue) for queue in QUEUES}


def test_with_0_seconds_workers_are_not_asked_and_what_they_were_missed_for_ends(settings: Settings) -> None:
    settings.HEALTH_WORKERS_SECONDS = 0

    # Unknown would leave an open incident, and its reminders, for ever
    assert (ask().facts, told(ask()), ask().unknown) == ({"asked": False}, [], frozenset())
