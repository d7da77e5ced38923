"""What became of the answers that warm runs loaded."""

import time
from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import StoredAnswer, WarmedAnswer, WarmRun
from api_service.services import tracking, warm_results
from api_service.services.cache_service import APICacheService
from api_service.services.outcomes import Outcome
from tests.integration.services.warm_runs import read, run
from tests.rucs import REAL
from tests.sandbox_fixture import RunningSandbox

pytestmark = pytest.mark.django_db


def test_a_run_learns_how_many_of_its_answers_were_read_in_time(cache: APICacheService, vendor: RunningSandbox) -> None:
    read(REAL)
    summary = run()
    for ruc in REAL[:4]:
        tracking.count("migo", "ruc", ruc, Outcome.HIT)
    tracking.flush_now()
    row = WarmRun.objects.get(pk=summary["run"])
    assert (row.useful, row.wasted) == (None, None)
    WarmedAnswer.objects.update(ends_at=timezone.now() - timedelta(minutes=3))
    assert warm_results.settle(timezone.now()) == 1
    row.refresh_from_db()
    assert (row.useful, row.wasted) == (4, 2)
    assert warm_results.settle(timezone.now()) == 0
    seen = warm_results.experience(timezone.now())
    assert (seen.warms, seen.useful) == (6, 4)
    assert 1 < seen.foreseen < 6


def test_a_read_before_or_after_it_is_none_of_it(cache: APICacheService, vendor: RunningSandbox) -> None:
    run(rucs=list(REAL))
    now = time.time()
    WarmedAnswer.objects.update(warmed_at=timezone.now(), ends_at=timezone.now() + timedelta(seconds=60))
    warm_results.note_reads({("migo", "ruc", REAL[0]): now - 60, ("migo", "ruc", REAL[1]): now + 120})
    warm_results.note_reads({("migo", "dni", REAL[2]): now + 30, ("migo", "ruc", REAL[3]): now + 30})
    assert list(WarmedAnswer.objects.filter(read_at__isnull=False).values_list("identifier", flat=True)) == [REAL[3]]


def test_what_is_loaded_again_before_anybody_read_it_was_for_nobody(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    run(rucs=[REAL[0]])
    cache.delete_ruc(REAL[0])
    StoredAnswer.objects.all().delete()
    run(rucs=[REAL[0]])
    tracking.count("migo", "ruc", REAL[0], Outcome.HIT)
    tracking.flush_now()
    first, second = WarmedAnswer.objects.order_by("pk")
    assert (first.read_at, first.ends_at) == (None, second.warmed_at)
    assert second.read_at is not None


def test_the_next_runs_ask_for_more_where_too_much_was_loaded_for_nobody(
    cache: APICacheService, vendor: RunningSandbox
) -> None:
    old = WarmRun.objects.create(started_at=timezone.now(), limit=1, budget=1, state="done")
    ended = timezone.now() - timedelta(hours=1)
    WarmedAnswer.objects.bulk_create(
        WarmedAnswer(run=old, service="migo", kind="ruc", identifier=str(n), chance=0.5, warmed_at=ended, ends_at=ended)
        for n in range(400)
    )
    read(REAL)
    summary = run()
    assert summary["break_even"] == 0.75
    assert summary["skipped"]["below_break_even"] > 0


@pytest.mark.django_db(transaction=True)
def test_results_are_recorded_beside_and_all_are_there_at_the_end(settings: Settings) -> None:
    settings.ANSWER_STORE_SECONDS = 5.0
    row = WarmRun.objects.create(started_at=timezone.now(), limit=1, budget=1)
    recorder = warm_results.Recorder(row, "migo", "ruc")
    now = time.time()
    for ruc in REAL:
        recorder.note([warm_results.Warmed(ruc, None, now, now + 60)])
    recorder.close()

    assert set(row.warmed.values_list("identifier", flat=True)) == set(REAL)


@pytest.mark.django_db(transaction=True)
def test_results_that_cannot_be_recorded_are_an_error_of_the_run(settings: Settings) -> None:
    settings.ANSWER_STORE_SECONDS = 5.0
    row = WarmRun.objects.create(started_at=timezone.now(), limit=1, budget=1)
    recorder = warm_results.Recorder(row, "migo", "ruc")
    WarmRun.objects.all().delete()
    recorder.note([warm_results.Warmed(REAL[0], None, time.time(), time.time() + 60)])

    with pytest.raises(IntegrityError):
        recorder.close()
    assert not WarmedAnswer.objects.exists()
