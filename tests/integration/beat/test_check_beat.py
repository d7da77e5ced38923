"""`check_beat` against rows as django-celery-beat writes them."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from django_celery_beat.schedulers import ModelEntry

from myproject.celery import app
from workers.beat_watch import Due, late
from workers.management.commands.check_beat import read_due
from workers.schedules import beat_schedule

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def check(**options: Any) -> str:
    out = StringIO()
    call_command("check_beat", stdout=out, **options)
    return out.getvalue()


def every(minute: str, hour: str = "*") -> CrontabSchedule:
    return CrontabSchedule.objects.create(minute=minute, hour=hour, timezone=ZoneInfo("America/Lima"))


def ran(name: str, when: datetime, **fields: Any) -> PeriodicTask:
    """A row last written at `when`: `date_changed` would otherwise be now."""
    task = PeriodicTask.objects.create(name=name, task="workers.tasks.clean_up", last_run_at=when, **fields)
    PeriodicTask.objects.filter(pk=task.pk).update(date_changed=when)
    return task


def install_all() -> None:
    for name, entry in beat_schedule("standard").items():
        ModelEntry.from_entry(name, app=app, **entry)


def test_only_what_is_later_than_the_margin_is_late_and_the_worst_comes_first() -> None:
    due = [Due("just", NOON - timedelta(seconds=300)), Due("hour", NOON - timedelta(hours=1)), Due("next", NOON)]
    assert [one.name for one in late(due, NOON)] == ["hour"]
    assert [one.name for one in late(due, NOON, timedelta(seconds=60))] == ["hour", "just"]


def test_a_beat_that_has_just_written_its_schedules_is_on_time() -> None:
    install_all()
    assert "on time: 6 schedules" in check()
    assert json.loads(check(json=True)) == {"ok": True, "schedules": 6, "late": {}}


def test_a_beat_that_stopped_is_named_with_what_it_missed() -> None:
    install_all()
    long_ago = timezone.now() - timedelta(minutes=30)
    PeriodicTask.objects.update(last_run_at=long_ago, date_changed=long_ago)
    with pytest.raises(CommandError, match="monitor-cache-health by"):
        check()
    with pytest.raises(CommandError, match=r"Restart Beat"):
        check(json=True)


def test_an_empty_table_is_a_failure_not_a_success() -> None:
    with pytest.raises(CommandError, match="Beat has not started here"):
        check()


def test_a_schedule_that_an_operator_turned_off_is_never_late() -> None:
    ran("off", NOON - timedelta(days=30), crontab=every("*/5"), enabled=False)
    ran("on", timezone.now(), crontab=every("*/5"))
    assert "1 schedules" in check()


def test_a_daily_schedule_counts_in_lima_time_and_is_late_only_after_its_hour() -> None:
    lima = ZoneInfo("America/Lima")
    ran("nightly", datetime(2026, 11, 21, 3, 17, tzinfo=lima), crontab=every("17", "3"))
    (due,) = read_due()
    assert due.at == datetime(2026, 11, 22, 3, 17, tzinfo=lima)
    assert late([due], datetime(2026, 11, 22, 3, 20, tzinfo=lima)) == []
    assert [one.name for one in late([due], datetime(2026, 11, 22, 3, 23, tzinfo=lima))] == ["nightly"]


def test_an_interval_counts_from_its_last_run() -> None:
    interval = IntervalSchedule.objects.create(every=10, period=IntervalSchedule.MINUTES)
    ran("interval", NOON, interval=interval)
    (due,) = read_due()
    assert due.at == NOON + timedelta(minutes=10)


def test_what_never_ran_counts_from_when_it_was_written() -> None:
    task = ran("new", NOON, crontab=every("*/5"))
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=None)
    (due,) = read_due()
    assert due.at == NOON + timedelta(minutes=5)
