"""The first page: the state of everything, and a warning when it is too old to be true."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from api_service import models
from tests.integration.admin.conftest import Rows, Staff

EN = {"accept-language": "en"}
STALE = "No recent run: do worker and beat run?"


def index(client: Client) -> str:
    return client.get("/admin/", headers=EN).text


def tile(page: str, title: str) -> str:
    """The HTML from a tile's title to the next one's."""
    return page.partition(f">{title}</a></h2>")[2].partition("<h2>")[0]


def test_the_first_page_says_how_everything_is(rows: Rows, admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        page = index(admin_client)
    assert len(queries) <= 16
    assert "unhealthy" in tile(page, "Cache")
    assert "node does not answer 10.0.4.12:11211" in tile(page, "Cache")
    assert "connection refused" in tile(page, "Cache")
    assert ">1</span>" in tile(page, "Open incidents")
    assert "1 alert has not arrived" in tile(page, "Open incidents")
    assert "1,234,567 keys" in tile(page, "Key inventory")
    assert "running" in tile(page, "Warming")
    assert STALE not in page


def test_answers_of_the_cache_count_known_absences_but_no_old_answers(rows: Rows, admin_client: Client) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    counts = {"negative": 5, "stale": 2, "miss": 2, "outage": 1}
    for outcome, count in counts.items():
        models.LookupHour.objects.create(hour=hour, service="migo", kind="ruc", outcome=outcome, count=count)
    old = hour - timedelta(hours=25)
    models.LookupHour.objects.create(hour=old, service="migo", kind="ruc", outcome="miss", count=9999)
    shown = tile(index(admin_client), "Answered by the cache, 24 h")
    assert "95.0 %" in shown
    assert "of 100 look-ups" in shown
    assert "1 while the cache was down" in shown


def test_paid_queries_are_those_of_the_day_in_lima(rows: Rows, admin_client: Client) -> None:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    models.SpendHour.objects.create(hour=midnight, service="migo", purpose="warm", queries=9)
    models.SpendHour.objects.create(hour=midnight - timedelta(hours=1), service="migo", purpose="user", queries=500)
    shown = tile(index(admin_client), "Paid queries today")
    assert ">50</p>" in shown
    assert "9 of them by warming" in shown


@pytest.mark.parametrize(
    ("title", "model", "field", "minutes"),
    [
        ("Cache", models.HealthSample, "taken_at", 13),
        ("Key inventory", models.TrackRun, "started_at", 26),
        ("Warming", models.WarmRun, "started_at", 13),
    ],
)
def test_what_is_too_old_warns(
    title: str, model: Any, field: str, minutes: int, rows: Rows, admin_client: Client
) -> None:
    def at(moment: datetime) -> str:
        model.objects.update(**{field: moment})
        return tile(index(admin_client), title)

    assert STALE in at(timezone.now() - timedelta(minutes=minutes))
    assert STALE not in at(timezone.now() - timedelta(minutes=minutes - 2))


def test_schedules_are_on_time_or_named_with_what_is_late(rows: Rows, admin_client: Client) -> None:
    assert "none is on" in tile(index(admin_client), "Schedules")
    crontab = CrontabSchedule.objects.create(minute="*/5")
    for name in ("monitor-cache-health", "warm-frequent-rucs"):
        PeriodicTask.objects.create(name=name, task="workers.tasks.any", crontab=crontab, last_run_at=timezone.now())
    assert "on time" in tile(index(admin_client), "Schedules")
    PeriodicTask.objects.filter(name="warm-frequent-rucs").update(last_run_at=timezone.now() - timedelta(hours=3))
    models.ScheduleRun.objects.update(waiting_since=timezone.now() - timedelta(minutes=20))
    shown = tile(index(admin_client), "Schedules")
    assert "2 late" in shown
    assert "<code>monitor-cache-health</code> no success: 20" in shown
    assert "<code>warm-frequent-rucs</code> not sent: 2" in shown


def test_an_inventory_under_way_says_how_far_it_is(rows: Rows, admin_client: Client) -> None:
    run = models.TrackRun.objects.create(started_at=timezone.now(), state="running")
    for node, state, keys in (("a:1", "done", 1000), ("b:1", "running", 234), ("c:1", "waiting", 0)):
        models.NodeListing.objects.create(run=run, node=node, state=state, keys=keys)
    models.NodeListing.objects.create(run=run, node="gone:1", state="done", retired=True)
    shown = tile(index(admin_client), "Key inventory")
    assert "running" in shown
    assert "1,234 keys" in shown
    assert "1 of 3 nodes listed" in shown


def test_what_was_written_and_removed_of_late_is_named(rows: Rows, admin_client: Client) -> None:
    page = index(admin_client)
    assert "Refill of 10.0.4.11:11211: 1,188 answers written" in page
    assert "Clearing of migo: 40 keys removed" in page
    assert "Copy to redis 10.0.4.20:6379: 4,990 keys copied" in page
    models.ClearRun.objects.update(kind="ruc", pattern="2010*", dry_run=True)
    assert "Dry run of a clearing of migo:ruc_2010*: 40 keys found" in index(admin_client)
    for model in (models.RefillRun, models.ClearRun, models.CopyRun):
        model._default_manager.update(started_at=timezone.now() - timedelta(days=2))
    assert "cw-recent" not in index(admin_client)


def test_an_empty_database_warns_instead_of_looking_well(admin_client: Client) -> None:
    page = index(admin_client)
    assert "never checked" in tile(page, "Cache")
    assert page.count(STALE) == 3
    assert "no look-ups" in page


def test_who_may_not_see_health_sees_no_panel(rows: Rows, staff: Staff) -> None:
    page = index(staff("view_trackedkey"))
    assert "cw-panel" not in page
    assert "Tracked keys" in page


def test_the_admin_loads_nothing_from_outside(rows: Rows, admin_client: Client) -> None:
    page = index(admin_client)
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert "api_service/admin.css" in page
