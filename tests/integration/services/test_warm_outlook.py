"""When a run will look at one RUC, and what it will decide: by the same figures that the run itself goes by."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from pytest_django.fixtures import Settings

from api_service.models import LookupHour, ReadHabit, ScheduleRun, WarmRun
from api_service.services import warm_outlook, warm_statistics, warming
from api_service.services.beat_rules import ByItself
from api_service.services.cache_service import APICacheService
from api_service.services.warm_outlook import DUE, UNREAD
from tests.conftest import UseCacheUrl
from tests.integration.services.warm_runs import read, run
from tests.rucs import valid_rucs
from tests.servers import Memcached

pytestmark = pytest.mark.django_db
LIFE, PERIOD, LEAD = 3600.0, 300.0, 600.0


@pytest.fixture
def rucs(settings: Settings) -> list[str]:
    """Ten that are read often and ten that were read once, a week ago, in an office that is always open."""
    settings.CACHE_TTL_RUC, settings.WARM_PERIOD, settings.WARM_LEAD = int(LIFE), int(PERIOD), int(LEAD)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    LookupHour.objects.bulk_create(
        LookupHour(hour=hour - timedelta(hours=back), service="migo", kind="ruc", outcome="hit", count=20)
        for back in range(1, 10 * 24)
    )
    found = valid_rucs(20)
    read(found[:10], times=48)
    read(found[10:], times=1, days_ago=7)
    return found


def test_one_ruc_has_the_rates_that_it_has_among_all(rucs: list[str]) -> None:
    now = time.time()
    among_all = warm_statistics.shortlist("migo", "ruc", now, PERIOD, LIFE, 100)
    assert {one.identifier for one in among_all.keys} == set(rucs)
    for known in among_all.keys:
        alone = warm_statistics.of_one("migo", "ruc", known.identifier, now, LIFE)
        assert alone.first == among_all.first
        (one,) = alone.keys
        assert one.rates == pytest.approx(known.rates, rel=1e-9)


def test_habits_of_the_last_era_count_as_they_do_in_the_database(rucs: list[str]) -> None:
    ReadHabit.objects.update(fast_era=warm_statistics.fast_unit(warm_statistics.wall(time.time()))[0] - 1)
    now = time.time()
    for known in warm_statistics.shortlist("migo", "ruc", now, PERIOD, LIFE, 3).keys:
        (one,) = warm_statistics.of_one("migo", "ruc", known.identifier, now, LIFE).keys
        assert one.rates == pytest.approx(known.rates, rel=1e-9)


def test_what_is_foretold_is_what_a_run_does(rucs: list[str], memcached: Memcached, use_cache_url: UseCacheUrl) -> None:
    use_cache_url(memcached.url)
    foretold = {ruc: warm_outlook.of_ruc(ruc, None, None, time.time()).decision for ruc in rucs}
    summary = run(dry_run=True, limit=100)
    assert set(foretold.values()) == {DUE, "below_break_even"}
    assert summary["due"] == sum(decision == DUE for decision in foretold.values())
    assert summary["skipped"] == {"below_break_even": sum(one != DUE for one in foretold.values())}
    assert APICacheService().get_ruc(rucs[0]) is None


def test_one_that_is_there_is_looked_at_before_it_ends(rucs: list[str]) -> None:
    now = time.time()
    found = warm_outlook.of_ruc(rucs[0], now + 3000, None, now)
    assert found.at == pytest.approx(now + 3000 - LEAD)
    assert found.decision == DUE
    assert found.reads > found.break_even
    soon = warm_outlook.of_ruc(rucs[0], now + LEAD - 1, None, now)
    assert soon.at == now


def test_the_break_even_is_what_the_last_run_had_learned(rucs: list[str]) -> None:
    assert warm_outlook.of_ruc(rucs[0], None, None, time.time()).decision == DUE
    WarmRun.objects.create(started_at=timezone.now(), limit=1, budget=1, break_even=99.0)
    found = warm_outlook.of_ruc(rucs[0], None, None, time.time())
    assert (found.decision, found.break_even) == ("below_break_even", 99.0)


def test_what_never_ends_is_left_alone(rucs: list[str]) -> None:
    now, never = time.time(), float("inf")
    assert warm_outlook.of_ruc(rucs[0], never, None, now).decision == "fresh"
    assert warm_outlook.of_ruc(rucs[0], None, never, now).decision == "known_invalid"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ByItself.MISSING),
        ([{"enabled": False}], ByItself.OFF),
        ([{}], ByItself.YES),
        ([{"enabled": False}, {}], ByItself.YES),
        ([{"last_run_at": timedelta(hours=1)}], ByItself.NOT_SENT),
        ([{"last_run_at": timedelta(hours=1)}, {}], ByItself.YES),
        ([{"waiting_since": timedelta(hours=2)}], ByItself.NOT_RUN),
    ],
    ids=["none", "off", "on", "one of two is on", "Beat is dead", "one of two is sent", "no run succeeds"],
)
def test_whether_there_will_be_a_run_is_told_by_the_schedules(
    rucs: list[str], rows: list[dict[str, Any]], expected: ByItself
) -> None:
    """`rows`: each a schedule of the task, sent just now unless it says otherwise; times are ages."""
    now = timezone.now()
    every_five, _ = CrontabSchedule.objects.get_or_create(minute="*/5")
    for number, row in enumerate(rows):
        sent_at, waiting = now - row.pop("last_run_at", timedelta(0)), row.pop("waiting_since", None)
        named = {"name": f"warm-{number}", "task": warming.TASK}
        PeriodicTask.objects.create(**named, crontab=every_five, last_run_at=sent_at, **row)
        ScheduleRun.objects.create(**named, waiting_since=waiting and now - waiting)

    outlooks = [warm_outlook.of_ruc(ruc, None, None, now.timestamp()) for ruc in (rucs[0], valid_rucs(1, start=500)[0])]
    assert {outlook.by_itself for outlook in outlooks} == {expected}


def test_of_one_that_nobody_has_asked_for_nothing_is_expected(rucs: list[str]) -> None:
    found = warm_outlook.of_ruc(valid_rucs(1, start=500)[0], None, None, time.time())
    assert (found.decision, found.reads) == (UNREAD, 0.0)
