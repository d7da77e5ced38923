from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from api_service.models import SpendHour
from api_service.services.budget import BudgetExhausted, Caps, Ledger, Purpose, left_for_warming, reserve, spent
from tests.integration.services.conftest import RunPython, output_of

LIMA = ZoneInfo("America/Lima")
NOW = datetime(2026, 7, 14, 22, 45, 30, tzinfo=LIMA)
pytestmark = pytest.mark.django_db


def rows() -> dict[tuple[str, int], int]:
    found = SpendHour.objects.values_list("purpose", "hour", "queries")
    return {(purpose, timezone.localtime(hour, LIMA).hour): queries for purpose, hour, queries in found if queries}


@contextmanager
def database_down() -> Iterator[None]:
    def down(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("could not connect to server")

    with patch("django.db.backends.utils.CursorWrapper._execute_with_wrappers", down):
        yield


def test_each_purpose_has_its_own_row_of_the_hour() -> None:
    for purpose, queries in ((Purpose.USER, 1), (Purpose.WARM, 100), (Purpose.RETRY, 2), (Purpose.USER, 4)):
        reserve("migo", purpose, queries, Caps(0, 0, 0.5), NOW)
    reserve("migo", Purpose.USER, 7, Caps(0, 0, 0.5), NOW + timedelta(hours=1))

    assert rows() == {("user", 22): 5, ("warm", 22): 100, ("retry", 22): 2, ("user", 23): 7}


def test_a_refused_call_leaves_the_rows_as_they_were() -> None:
    caps = Caps(hour=10, day=0, warm_share=0.5)
    reserve("migo", Purpose.USER, 8, caps, NOW)
    before = list(SpendHour.objects.order_by("pk").values())

    with pytest.raises(BudgetExhausted):
        reserve("migo", Purpose.USER, 3, caps, NOW)
    assert list(SpendHour.objects.order_by("pk").values()) == before
    reserve("migo", Purpose.USER, 2, caps, NOW)


def test_all_purposes_share_the_cap_and_another_service_has_its_own() -> None:
    caps = Caps(hour=10, day=0, warm_share=0.5)
    reserve("migo", Purpose.WARM, 5, caps, NOW)
    reserve("migo", Purpose.RETRY, 5, caps, NOW)

    with pytest.raises(BudgetExhausted):
        reserve("migo", Purpose.USER, 1, caps, NOW)
    reserve("sunat", Purpose.USER, 1, caps, NOW)


def test_warming_stops_at_its_share_and_a_user_still_gets_the_rest() -> None:
    caps = Caps(hour=100, day=0, warm_share=0.5)
    reserve("migo", Purpose.USER, 30, caps, NOW)
    assert left_for_warming("migo", caps, NOW) == 20

    with pytest.raises(BudgetExhausted):
        reserve("migo", Purpose.WARM, 21, caps, NOW)
    reserve("migo", Purpose.WARM, 20, caps, NOW)
    assert left_for_warming("migo", caps, NOW) == 0
    reserve("migo", Purpose.USER, 50, caps, NOW)
    assert left_for_warming("migo", caps, NOW) == 0


def test_what_is_left_goes_by_the_tighter_cap_and_is_unlimited_without_caps() -> None:
    reserve("migo", Purpose.USER, 10, Caps(0, 0, 1.0), NOW - timedelta(hours=2))

    assert left_for_warming("migo", Caps(100, 100, 0.5), NOW) == 40
    assert left_for_warming("migo", Caps(30, 100, 1.0), NOW) == 30
    assert left_for_warming("migo", Caps(0, 0, 0.5), NOW) is None


def test_the_day_begins_at_midnight_in_lima() -> None:
    caps = Caps(hour=0, day=10, warm_share=0.5)
    reserve("migo", Purpose.USER, 10, caps, NOW)
    with pytest.raises(BudgetExhausted) as refused:
        reserve("migo", Purpose.USER, 1, caps, NOW + timedelta(hours=1))
    after_midnight = NOW + timedelta(hours=2)
    reserve("migo", Purpose.USER, 10, caps, after_midnight)

    assert refused.value.period == "day"
    assert spent("migo", after_midnight.replace(hour=0, minute=0, second=0)) == 10


@pytest.mark.django_db(transaction=True)
def test_many_threads_at_once_never_exceed_the_cap() -> None:
    caps = Caps(hour=50, day=0, warm_share=0.5)

    def pay(number: int) -> bool:
        purpose = (Purpose.USER, Purpose.RETRY, Purpose.WARM)[number % 3]
        try:
            reserve("migo", purpose, 3, caps, NOW)
        except BudgetExhausted:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        paid = sum(pool.map(pay, range(60)))

    total = spent("migo", NOW.replace(minute=0, second=0))
    assert total == paid * 3
    assert 45 <= total <= 50


PAY = """
from api_service.services.budget import BudgetExhausted, Ledger, Purpose
ledger = Ledger("migo", Purpose.USER)
try:
    while True:
        ledger(1, retry=False)
except BudgetExhausted as error:
    print(ledger.queries, error.period)
"""


@pytest.mark.django_db(transaction=True)
def test_processes_share_the_cap(run_python: RunPython) -> None:
    processes = [run_python(PAY, MIGO_MAX_PER_DAY="90") for _ in range(3)]
    paid = [output_of(process).split() for process in processes]

    assert sum(int(queries) for queries, _period in paid) == 90
    assert {period for _queries, period in paid} == {"day"}


def test_a_users_retry_is_entered_as_one_and_a_warm_runs_stays_with_it() -> None:
    for purpose in (Purpose.USER, Purpose.WARM):
        ledger = Ledger("migo", purpose)
        ledger(1, retry=False)
        ledger(1, retry=True)
        assert ledger.queries == 2

    assert {purpose: queries for (purpose, _hour), queries in rows().items()} == {"user": 1, "retry": 1, "warm": 2}


def test_a_run_may_have_a_budget_of_its_own_and_retries_count() -> None:
    ledger = Ledger("migo", Purpose.WARM, limit=150)
    ledger(100, retry=False)

    with pytest.raises(BudgetExhausted, match="150 paid queries a run"):
        ledger(100, retry=True)
    assert ledger.queries == 100
    assert sum(rows().values()) == 100


def test_without_the_database_a_user_is_served_if_no_cap_is_set_and_warming_never_is(settings: Settings) -> None:
    settings.MIGO_MAX_PER_HOUR = settings.MIGO_MAX_PER_DAY = 0
    with database_down():
        user = Ledger("migo", Purpose.USER)
        user(1, retry=False)
        assert user.queries == 1
        with pytest.raises(OperationalError):
            Ledger("migo", Purpose.WARM)(1, retry=False)
        settings.MIGO_MAX_PER_DAY = 10
        with pytest.raises(OperationalError):
            user(1, retry=False)
