"""`check_beat` against rows as django-celery-beat writes them."""

import json
import re
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from django_celery_beat.schedulers import ModelEntry
from pytest_django import DjangoAssertNumQueries

from api_service.models import ScheduleRun
from api_service.services import beat_watch, schedule_runs
from api_service.services.around import beat
from api_service.services.around.reading import Moment
from api_service.services.beat_rules import State
from api_service.services.bounded import NoAnswerInTime
from myproject.celery import app
from workers.schedules import TABLE, beat_schedule

pytestmark = pytest.mark.django_db
MARGIN = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def _in_this_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command reads on a thread of its own, which would not see what a test has not committed."""
    monkeypatch.setattr(beat_watch, "look_in_time", beat_watch.look)


NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def check(**options: Any) -> str:
    out = StringIO()
    call_command("check_beat", stdout=out, **options)
    return out.getvalue()


def refused(**options: Any) -> CommandError:
    """The error it ends with, and what it has printed before."""
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("check_beat", stdout=out, **options)
    caught.value.printed = out.getvalue()  # type: ignore[attr-defined]
    return caught.value


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


def test_a_beat_that_has_just_written_its_schedules_is_on_time() -> None:
    install_all()
    shown = check().splitlines()
    assert [line.split()[0] for line in shown[1:]] == sorted(TABLE)
    assert all("on time" in line and "never" in line for line in shown[1:])
    answer = json.loads(check(json=True))
    assert answer["ok"] is True
    assert {row["late_by"] for row in answer["schedules"]} == {0}


def test_a_beat_that_stopped_is_named_with_what_it_missed_and_how_long_ago() -> None:
    install_all()
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(minutes=30))
    error = refused(json=True)
    assert error.returncode == 1
    assert "monitor-cache-health by" in str(error)
    assert "Restart Beat" in str(error)
    answer = json.loads(error.printed)  # type: ignore[attr-defined]
    states = {row["name"]: row["state"] for row in answer["schedules"]}
    assert answer["ok"] is False
    assert states["monitor-cache-health"] == states["deliver-alerts"] == "not_sent"
    assert states["clean-up"] == "on_time"


def test_what_is_sent_and_never_succeeds_is_late_with_an_exit_code_of_its_own() -> None:
    row = ran("on", timezone.now(), crontab=every("*/5"))
    schedule_runs.sent(row.name, row.task, timezone.now() - timedelta(minutes=16))
    error = refused()
    assert error.returncode == 2
    assert re.search(r"on by 9[67]\d s", str(error))
    assert "workers" in str(error)
    assert "not run" in error.printed  # type: ignore[attr-defined]
    assert "on time" not in error.printed  # type: ignore[attr-defined]


def test_a_check_that_restarts_beat_does_not_blame_it_for_the_workers() -> None:
    row = ran("on", timezone.now(), crontab=every("*/5"))
    schedule_runs.sent(row.name, row.task, timezone.now() - timedelta(hours=2))
    assert "not run" in check(sent_only=True)


def test_a_clock_that_was_set_back_is_named_as_no_restart_helps() -> None:
    ran("on", timezone.now() + timedelta(hours=1), crontab=every("*/5"))
    error = refused()
    assert error.returncode == 1
    assert "clock was set back" in str(error)


def test_a_smaller_margin_is_stricter() -> None:
    interval = IntervalSchedule.objects.create(every=5, period=IntervalSchedule.MINUTES)
    ran("on", timezone.now() - timedelta(minutes=7), interval=interval)
    check(margin=240)
    with pytest.raises(CommandError, match="on by"):
        check(margin=60)


def test_an_empty_table_is_a_failure_not_a_success() -> None:
    assert refused().returncode == 1
    assert "Beat has not started here" in str(refused())


def test_a_schedule_that_an_operator_turned_off_is_never_late() -> None:
    ran("off", NOON - timedelta(days=30), crontab=every("*/5"), enabled=False)
    ran("on", timezone.now(), crontab=every("*/5"))
    assert len(json.loads(check(json=True))["schedules"]) == 1


def test_a_database_that_does_not_answer_is_an_exit_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(*_: object) -> None:
        raise NoAnswerInTime("not within 3 s")

    monkeypatch.setattr(beat_watch, "look_in_time", no_answer)
    assert refused().returncode == 3
    assert refused(json=True).returncode == 3


def test_one_query_reads_all(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    install_all()
    with django_assert_num_queries(1):
        assert len(beat_watch.look(timezone.now())) == len(TABLE)


def test_a_daily_schedule_counts_in_lima_time_and_is_late_only_after_its_hour() -> None:
    lima = ZoneInfo("America/Lima")
    ran("nightly", datetime(2026, 11, 21, 3, 17, tzinfo=lima), crontab=every("17", "3"))
    (early,) = beat_watch.look(datetime(2026, 11, 22, 3, 20, tzinfo=lima), MARGIN)
    (night,) = beat_watch.look(datetime(2026, 11, 22, 3, 23, tzinfo=lima), MARGIN)
    assert early.seen.next_due == datetime(2026, 11, 22, 3, 17, tzinfo=lima)
    assert early.seen.every == timedelta(days=1)
    assert [early.state, night.state] == [State.ON_TIME, State.NOT_SENT]


def test_a_daily_schedule_that_was_switched_on_at_noon_waits_for_its_night() -> None:
    """Beat does not look at it before; its last run is a week old."""
    task = ran("nightly", NOON - timedelta(days=7), crontab=every("17", "3"))
    PeriodicTask.objects.filter(pk=task.pk).update(date_changed=NOON)
    (one,) = beat_watch.look(NOON + timedelta(hours=1), MARGIN)
    assert one.state is State.ON_TIME


def test_a_beat_that_only_starts_again_and_again_does_not_look_fresh() -> None:
    """Each start of Beat writes the rows anew."""
    task = ran("frequent", NOON - timedelta(hours=1), crontab=every("*/5"))
    PeriodicTask.objects.filter(pk=task.pk).update(date_changed=NOON)
    (one,) = beat_watch.look(NOON, MARGIN)
    assert (one.state, one.send_late) == (State.NOT_SENT, timedelta(minutes=55))


def switched_on(name: str, **fields: Any) -> PeriodicTask:
    """Never sent, and on since NOON, whatever is written of it after that."""
    task = PeriodicTask.objects.create(name=name, task="workers.tasks.clean_up", **fields)
    ScheduleRun.objects.filter(name=name).update(on_since=NOON)
    return task


def test_a_beat_that_always_dies_before_it_has_sent_anything_is_late() -> None:
    task = switched_on("frequent", crontab=every("*/5"))
    task.save()  # as each start of Beat does
    (in_time,) = beat_watch.look(NOON + timedelta(minutes=10), MARGIN)
    (late,) = beat_watch.look(NOON + timedelta(minutes=10, seconds=1), MARGIN)
    assert task.date_changed > NOON + timedelta(minutes=10)
    assert [in_time.state, late.state] == [State.ON_TIME, State.NOT_SENT]
    assert late.send_late == timedelta(minutes=5, seconds=1)


def test_once_it_is_sent_nobody_counts_from_when_it_was_switched_on() -> None:
    """Whoever makes Beat forget its last runs, as after a clock that was ahead, is not told of a year."""
    task = switched_on("frequent", crontab=every("*/5"))
    schedule_runs.sent(task.name, task.task, NOON)
    assert ScheduleRun.objects.get().on_since is None


def test_a_nightly_one_that_was_never_sent_waits_for_its_night_after_a_change() -> None:
    task = switched_on("nightly", crontab=every("17", "3"))
    PeriodicTask.objects.filter(pk=task.pk).update(date_changed=NOON + timedelta(days=1))
    (one,) = beat_watch.look(NOON + timedelta(days=1, hours=1), MARGIN)
    assert one.state is State.ON_TIME


@pytest.mark.parametrize("again", ["saved", "deleted and made anew"])
def test_what_is_switched_off_and_on_again_counts_from_then(again: str) -> None:
    task = switched_on("frequent", crontab=every("*/5"))
    if again == "saved":
        task.enabled = False
        task.save()
        assert ScheduleRun.objects.get(name="frequent").on_since is None
        task.enabled = True
        task.save()
    else:
        task.delete()
        PeriodicTask.objects.create(name="frequent", task="workers.tasks.clean_up", crontab=every("*/5"))
    now = timezone.now()
    (one,) = beat_watch.look(now, MARGIN)
    assert one.state is State.ON_TIME
    assert one.seen.next_due > now - timedelta(minutes=1)


def test_what_was_sent_once_is_not_asked_since_when_it_is_on() -> None:
    """Beat writes a row after each time it sends: that costs no further query."""
    task = ran("frequent", NOON, crontab=every("*/5"))
    with CaptureQueriesContext(connection) as queries:
        task.save(update_fields=["last_run_at"])
    assert queries.captured_queries
    assert [one["sql"] for one in queries.captured_queries if ScheduleRun._meta.db_table in one["sql"]] == []


def test_an_interval_counts_from_its_last_run() -> None:
    interval = IntervalSchedule.objects.create(every=10, period=IntervalSchedule.MINUTES)
    ran("interval", NOON, interval=interval)
    (one,) = beat_watch.look(NOON, MARGIN)
    assert one.seen.next_due == NOON + timedelta(minutes=10)
    assert one.seen.every == timedelta(minutes=10)


def test_what_never_ran_counts_from_when_it_was_written() -> None:
    """Of rows that an older version wrote nobody knows since when they are on."""
    task = ran("new", NOON, crontab=every("*/5"))
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=None)
    (one,) = beat_watch.look(NOON, MARGIN)
    assert one.seen.next_due == NOON + timedelta(minutes=5)


def test_the_health_check_reports_what_beat_and_what_the_workers_are_to_blame_for() -> None:
    ran("unsent", NOON - timedelta(minutes=20), crontab=every("*/5"))
    unrun = ran("unrun", NOON, crontab=every("*/5"))
    schedule_runs.sent(unrun.name, unrun.task, NOON - timedelta(minutes=17))
    seen = beat.read(Moment(NOON))
    assert seen.facts["schedules"]["unrun"] == {"state": "not_run", "late_by": 1020, "duration": None}
    found = [(f.code, f.node, f.value, f.limit, f.severity.value) for f in seen.findings]
    assert found == [
        ("schedule_not_run", "unrun", 1020, 300, "warning"),
        ("schedule_late", "unsent", 900, 300, "unhealthy"),
    ]
