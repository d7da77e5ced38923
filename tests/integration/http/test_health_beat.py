"""GET /health/beat: the dead man's switch for whoever watches from outside."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import ModelEntry
from pytest_django import DjangoAssertNumQueries

from api_service.services import beat_watch, schedule_runs
from myproject.celery import app
from workers.schedules import TABLE, beat_schedule

URL = "/health/beat"


@pytest.fixture
def in_this_transaction(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view reads on a thread of its own, which would not see what a test has not committed."""
    monkeypatch.setattr(beat_watch, "look_recently", beat_watch.look)


@pytest.fixture
def schedules(in_this_transaction: None) -> None:
    """As Beat writes them when it starts, all sent just now."""
    for name, entry in beat_schedule("standard").items():
        ModelEntry.from_entry(name, app=app, **entry)
    PeriodicTask.objects.update(last_run_at=timezone.now())


@pytest.fixture
def own_thread(transactional_db: None) -> Iterator[None]:
    beat_watch.stop()
    # A test before this one may have taken its database away
    beat_watch._reads.breaker.begin()
    yield
    # It would keep the test database in use
    beat_watch.stop()


def get(client: Client) -> tuple[int, dict[str, Any]]:
    answer = client.get(URL, headers={"accept-language": "en"})
    return answer.status_code, answer.json()


def test_everybody_reads_when_each_schedule_was_sent_ran_and_is_due(client: Client, schedules: None) -> None:
    schedule_runs.sent("clean-up", "workers.tasks.clean_up", timezone.now())
    schedule_runs.succeeded("clean-up", "workers.tasks.clean_up", timezone.now(), 1.2345)
    status, body = get(client)
    rows = {row["name"]: row for row in body["schedules"]}
    assert (status, body["success"], body["status"]) == (200, True, "on_time")
    assert set(rows) == set(TABLE)
    assert rows["clean-up"]["duration"] == 1.234
    assert rows["clean-up"]["succeeded_at"] is not None
    assert rows["track-keys"]["succeeded_at"] is None
    assert {row["state"] for row in rows.values()} == {"on_time"}


def test_a_beat_that_sends_nothing_is_unavailable(client: Client, schedules: None) -> None:
    PeriodicTask.objects.filter(name="deliver-alerts").update(last_run_at=timezone.now() - timedelta(minutes=30))
    status, body = get(client)
    assert (status, body["code"]) == (503, "schedule_late")
    assert "deliver-alerts" in body["error"]
    assert "restart it" in body["next_step"]
    (row,) = [row for row in body["schedules"] if row["state"] != "on_time"]
    assert 28 * 60 <= row["send_late_by"] <= 30 * 60
    assert row["run_late_by"] == 0


def test_runs_that_do_not_succeed_are_unavailable_and_not_blamed_on_beat(client: Client, schedules: None) -> None:
    task = "workers.tasks.monitor_cache_health"
    schedule_runs.sent("monitor-cache-health", task, timezone.now() - timedelta(minutes=20))
    schedule_runs.failed("monitor-cache-health", task, timezone.now(), 0.1, "OSError: postgres://user:pw@db/x")
    status, body = get(client)
    assert (status, body["code"]) == (503, "schedule_not_run")
    assert "workers" in body["next_step"]
    (row,) = [row for row in body["schedules"] if row["state"] != "on_time"]
    assert row["send_late_by"] == 0
    assert 1200 <= row["run_late_by"] < 1230
    assert "OSError" not in str(body)


def test_no_schedule_is_unavailable(client: Client, schedules: None) -> None:
    PeriodicTask.objects.update(enabled=False)
    status, body = get(client)
    assert (status, body["code"], body["schedules"]) == (503, "no_schedules", [])


def test_it_costs_one_query(client: Client, schedules: None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        assert get(client)[0] == 200


def test_it_is_only_read(client: Client) -> None:
    assert client.post(URL).status_code == 405


def test_the_margin_is_a_setting(client: Client, schedules: None, settings: Any) -> None:
    PeriodicTask.objects.filter(name="deliver-alerts").update(last_run_at=timezone.now() - timedelta(minutes=4))
    assert get(client)[0] == 200
    settings.BEAT_MARGIN_SECONDS = 60
    assert get(client)[0] == 503


def test_it_reads_on_a_thread_of_its_own_what_is_committed(client: Client, own_thread: None) -> None:
    for name, entry in beat_schedule("standard").items():
        ModelEntry.from_entry(name, app=app, **entry)
    assert get(client)[0] == 200


def test_who_asks_again_within_a_second_reads_the_same_and_costs_no_query(
    client: Client, own_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat_watch, "RECENT_SECONDS", 60.0)
    assert get(client)[1]["code"] == "no_schedules"
    for name, entry in beat_schedule("standard").items():
        ModelEntry.from_entry(name, app=app, **entry)
    assert get(client)[1]["code"] == "no_schedules"
    monkeypatch.setattr(beat_watch, "RECENT_SECONDS", 0.0)
    assert get(client)[0] == 200


@pytest.mark.db  # the one of these that is about PostgreSQL
def test_a_frozen_database_is_unavailable_in_time(
    client: Client, own_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that another session holds, or a server that is stopped: the query does not come back."""
    if connection.vendor != "postgresql":
        pytest.skip("readers of SQLite wait for nobody")
    monkeypatch.setattr(beat_watch, "DATABASE_SECONDS", 0.3)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            other.set_autocommit(False)
            cursor.execute("LOCK TABLE django_celery_beat_periodictask IN ACCESS EXCLUSIVE MODE")
        started = timezone.now()
        status, body = get(client)
        took = (timezone.now() - started).total_seconds()
    finally:
        other.close()
    assert (status, body["code"]) == (503, "database_unavailable")
    # The database itself ends a statement later than that
    assert took < 15
