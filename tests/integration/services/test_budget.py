from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from api_service.models import RateWindow, SpendHour
from api_service.services import budget, monitoring
from api_service.services.bounded import stop_threads
from api_service.services.budget import BudgetExhausted, Caps, Ledger, Purpose, left_for_warming, reserve, spent
from api_service.services.cache_service import APICacheService
from api_service.services.providers import Found, SpendLater, provider
from tests.integration.services.conftest import RunPython, output_of
from tests.rucs import REAL, valid_rucs
from tests.sandbox_fixture import RunningSandbox
from tests.waiting import wait_until

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


def test_without_a_cap_an_entry_is_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        reserve("migo", Purpose.WARM, 100, Caps(0, 0, 0.5), NOW)


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


# -- the minute and the month


def seconds_ago(seconds: int) -> str:
    return str(int(timezone.now().timestamp()) - seconds)


def fill_the_minute(queries: int, ago: int) -> None:
    RateWindow.objects.create(service="migo", taken={seconds_ago(ago): queries})


@pytest.fixture
def _clocks_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the second may turn between a minute that was filled and a call, which then has its place."""
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    monkeypatch.setattr(budget, "monotonic", lambda: 100.0)


def test_a_month_has_a_cap_too_and_begins_on_its_first_day_in_lima() -> None:
    caps = Caps(hour=0, day=0, warm_share=0.5, month=10)
    reserve("migo", Purpose.USER, 10, caps, NOW - timedelta(days=13))
    with pytest.raises(BudgetExhausted) as refused:
        reserve("migo", Purpose.USER, 1, caps, NOW)

    assert refused.value.period == "month"
    assert left_for_warming("migo", Caps(0, 0, 0.5, month=30), NOW) == 5
    reserve("migo", Purpose.USER, 10, caps, NOW.replace(month=8, day=1, hour=0))


@pytest.mark.usefixtures("_clocks_stand_still")
def test_warming_stops_at_its_share_of_a_minute_and_a_refused_call_leaves_no_trace() -> None:
    caps = Caps(0, 0, 0.5, minute=10)
    reserve("migo", Purpose.WARM, 5, caps, NOW)
    before = list(RateWindow.objects.values()), list(SpendHour.objects.values())
    with pytest.raises(BudgetExhausted) as refused:
        reserve("migo", Purpose.WARM, 1, caps, NOW)

    assert (refused.value.period, refused.value.cap) == ("rate", 5)
    assert (list(RateWindow.objects.values()), list(SpendHour.objects.values())) == before
    reserve("migo", Purpose.USER, 5, caps, NOW)
    reserve("migo", Purpose.USER, 10, caps, NOW + timedelta(seconds=61))


PAY_THE_MINUTE = """
from api_service.services.budget import BudgetExhausted, Ledger, Purpose
from api_service.services.providers import SpendLater
ledger = Ledger("migo", Purpose.USER)
try:
    while True:
        ledger(1, retry=False)
except (BudgetExhausted, SpendLater):
    print(ledger.queries)
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("own_connection", ["0", "2"])
def test_processes_share_a_minute_to_the_last_place(run_python: RunPython, own_connection: str) -> None:
    processes = [
        run_python(PAY_THE_MINUTE, MIGO_MAX_PER_MINUTE="75", ANSWER_STORE_SECONDS=own_connection) for _ in range(4)
    ]
    paid = [int(output_of(process)) for process in processes]

    assert sum(paid) == 75
    assert sum(sum(window.taken.values()) for window in RateWindow.objects.all()) == 75
    assert sum(rows().values()) == 75


@pytest.mark.usefixtures("_clocks_stand_still")
def test_a_single_look_up_waits_shortly_for_its_place_and_a_batch_as_long_as_its_deadline(settings: Settings) -> None:
    settings.MIGO_MAX_PER_MINUTE, settings.MIGO_RATE_WAIT, settings.MIGO_DEADLINE = 10, 1.5, 40.0
    fill_the_minute(10, ago=60)
    with pytest.raises(SpendLater) as soon:
        Ledger("migo", Purpose.USER)(1, retry=False)
    RateWindow.objects.all().delete()
    fill_the_minute(10, ago=30)
    with pytest.raises(BudgetExhausted) as refused:
        Ledger("migo", Purpose.USER)(1, retry=False)
    for many in (Ledger("migo", Purpose.USER), Ledger("migo", Purpose.WARM)):
        with pytest.raises(SpendLater) as later:
            many(5, retry=False)
        assert 29 < later.value.seconds <= 31
    with pytest.raises(BudgetExhausted):
        Ledger("migo", Purpose.WARM, wait_until=110.0)(5, retry=False)

    assert 0 < soon.value.seconds <= 1.0
    assert refused.value.period == "rate"
    assert 29 < refused.value.retry_after <= 31
    assert sum(rows().values()) == 0


@pytest.mark.usefixtures("_clocks_stand_still")
def test_waiting_again_and_again_ends_as_well(settings: Settings) -> None:
    settings.MIGO_MAX_PER_MINUTE, settings.MIGO_RATE_WAIT = 10, 5.0
    fill_the_minute(10, ago=60)
    ledger = Ledger("migo", Purpose.USER)
    with patch("api_service.services.budget.monotonic", side_effect=[100.0, 100.0, 100.0, 104.5, 104.5, 104.5]):
        with pytest.raises(SpendLater):
            ledger(1, retry=False)
        RateWindow.objects.update(taken={seconds_ago(59): 10})
        with pytest.raises(BudgetExhausted):
            ledger(1, retry=False)


@pytest.mark.django_db(transaction=True)
def test_a_look_up_that_waited_for_its_place_is_answered(vendor: RunningSandbox, settings: Settings) -> None:
    settings.MIGO_MAX_PER_MINUTE, settings.MIGO_RATE_WAIT = 10, 2.0
    fill_the_minute(10, ago=60)
    answer = provider("migo").fetch("ruc", REAL[0], spend=Ledger("migo", Purpose.USER))

    assert isinstance(answer, Found)
    assert sum(rows().values()) == vendor.billed == 1


def test_the_time_that_a_batch_waited_for_its_place_is_not_taken_off_its_calls(
    vendor: RunningSandbox, settings: Settings
) -> None:
    settings.MIGO_API_VERSION, settings.MIGO_BASE_URL = "v2", f"{vendor.url}/api/v2"
    settings.MIGO_DEADLINE = 2.0
    asked: list[int] = []

    def spend(queries: int, *, retry: bool) -> None:
        asked.append(queries)
        if len(asked) == 1:
            raise SpendLater(2.2)

    answers = provider("migo").fetch_many("ruc", valid_rucs(3), spend=spend)

    assert {type(answer) for answer in answers.values()} == {Found}
    assert asked == [3, 3]


def test_no_call_is_larger_than_the_places_of_a_minute(vendor: RunningSandbox, settings: Settings) -> None:
    settings.MIGO_MAX_PER_MINUTE, settings.WARM_SHARE = 60, 0.5
    answers = provider("migo").fetch_many("ruc", valid_rucs(60), spend=Ledger("migo", Purpose.USER))

    assert {type(answer) for answer in answers.values()} == {Found}
    assert [entry["billed"] for entry in vendor.log] == [30, 30]


@pytest.mark.django_db(transaction=True)
def test_a_runs_own_budget_is_exact_with_calls_side_by_side(vendor: RunningSandbox, settings: Settings) -> None:
    settings.MIGO_PARALLEL = 4
    vendor.switch(latency=0.02)
    ledger = Ledger("migo", Purpose.WARM, limit=350)
    answers = provider("migo").fetch_many("ruc", valid_rucs(1000), spend=ledger)

    assert (ledger.queries, vendor.billed, sum(rows().values())) == (300, 300, 300)
    assert sum(isinstance(answer, Found) for answer in answers.values()) == 300


# -- whose transaction, and who dies


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("purpose", [Purpose.USER, Purpose.WARM])
def test_a_caller_that_rolls_back_has_paid_all_the_same(purpose: Purpose, settings: Settings) -> None:
    settings.ANSWER_STORE_SECONDS, settings.MIGO_MAX_PER_DAY = 5.0, 100
    with transaction.atomic():
        Ledger("migo", purpose)(5, retry=False)
        transaction.set_rollback(True)
    stop_threads(10)

    # SQLite: the caller held the only write lock there is
    assert sum(rows().values()) == (0 if connection.vendor == "sqlite" else 5)


def has_more(vendor: RunningSandbox, requests: int) -> bool:
    return len(vendor.log) > requests


PAY_UNTIL_KILLED = """
from itertools import count
from api_service.services.budget import Ledger, Purpose
from api_service.services.providers import provider
from tests.rucs import valid_rucs
migo = provider("migo")
rucs = valid_rucs(300)
for number in count():
    if number % 3:
        migo.fetch("ruc", rucs[number % 300], spend=Ledger("migo", Purpose.USER))
    else:
        migo.fetch_many("ruc", rucs, spend=Ledger("migo", Purpose.WARM))
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("caps", [{}, {"MIGO_MAX_PER_DAY": "10000000"}, {"MIGO_MAX_PER_MINUTE": "10000000"}], ids=str)
def test_killed_at_any_point_the_ledger_never_shows_less_than_was_spent(
    caps: dict[str, str], run_python: RunPython, vendor: RunningSandbox
) -> None:
    asked = 0
    for _ in range(4):
        variables = {"MIGO_BASE_URL": f"{vendor.url}/api/v1", "MIGO_TOKEN": "token-of-the-tests-0001", **caps}
        process = run_python(PAY_UNTIL_KILLED, ANSWER_STORE_SECONDS="5", **variables)
        wait_until(partial(has_more, vendor, asked + 20), timeout=60)
        process.kill()
        process.wait(10)
        wait_until(lambda: vendor.state["in_flight"] == 0)
        asked = len(vendor.log)
        assert 0 < vendor.billed <= sum(rows().values())


@pytest.mark.django_db(transaction=True)
def test_the_health_check_warns_near_a_cap_and_is_unhealthy_at_it(settings: Settings, cache: APICacheService) -> None:
    settings.MIGO_MAX_PER_DAY, settings.MIGO_MAX_PER_MONTH, settings.BUDGET_WARNING = 10, 1000, 0.8
    said = []
    for queries in (7, 1, 2):
        reserve("migo", Purpose.USER, queries, Caps(0, 0, 0.5), timezone.now())
        sample = monitoring.run_health_check()
        said.append((sample.status, [(f["code"], f["node"], f["value"], f["limit"]) for f in sample.findings]))

    assert said == [
        ("healthy", []),
        ("warning", [("budget_low", "migo/day", "8", "10")]),
        ("unhealthy", [("budget_exhausted", "migo/day", "10", "10")]),
    ]
