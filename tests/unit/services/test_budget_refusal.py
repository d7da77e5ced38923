from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from api_service.services.budget_rules import (
    BudgetExhausted,
    Caps,
    Purpose,
    largest_call,
    periods,
    rate_refusal,
    refusal,
)

LIMA = ZoneInfo("America/Lima")
NOW = datetime(2026, 7, 14, 22, 45, 30, tzinfo=LIMA)


def refused(hour: int, day: int, caps: Caps, purpose: Purpose, month: int = 0) -> BudgetExhausted | None:
    return refusal({"hour": hour, "day": day, "month": month}, caps, purpose, NOW)


def test_without_caps_nothing_is_refused() -> None:
    caps = Caps(hour=0, day=0, warm_share=0.5)

    assert not caps.any
    assert refused(10**9, 10**9, caps, Purpose.WARM, 10**9) is None


@pytest.mark.parametrize(
    "caps", [Caps(1, 0, 0.5), Caps(0, 1, 0.5), Caps(0, 0, 0.5, month=1), Caps(0, 0, 0.5, minute=1)]
)
def test_each_of_the_four_is_a_cap(caps: Caps) -> None:
    assert caps.any


@pytest.mark.parametrize("purpose", [Purpose.USER, Purpose.RETRY])
def test_users_may_use_all_of_the_cap_and_not_one_query_more(purpose: Purpose) -> None:
    caps = Caps(hour=100, day=1000, warm_share=0.5, month=5000)

    assert refused(100, 1000, caps, purpose, 5000) is None
    assert refused(101, 101, caps, purpose, 101) is not None
    assert refused(1, 1001, caps, purpose, 1001) is not None
    assert refused(1, 1, caps, purpose, 5001) is not None


def test_warming_gets_its_share_only() -> None:
    caps = Caps(hour=100, day=1000, warm_share=0.5, month=5000)

    assert refused(50, 500, caps, Purpose.WARM, 2500) is None
    assert refused(51, 51, caps, Purpose.WARM) is not None
    assert refused(1, 501, caps, Purpose.WARM) is not None
    assert refused(1, 1, caps, Purpose.WARM, 2501) is not None
    assert refused(1, 1, Caps(100, 0, 0.0), Purpose.WARM) is not None


def test_a_refusal_says_when_to_come_back() -> None:
    caps = Caps(hour=100, day=1000, warm_share=1.0, month=5000)
    hour, day = refused(101, 101, caps, Purpose.USER), refused(1, 1001, caps, Purpose.USER)
    month = refused(1, 1, caps, Purpose.USER, 5001)

    assert hour is not None
    assert (hour.period, hour.cap, hour.retry_after) == ("hour", 100, 14 * 60 + 30)
    assert day is not None
    assert (day.period, day.cap, day.retry_after) == ("day", 1000, 74 * 60 + 30)
    assert month is not None
    assert (month.period, month.cap, month.retry_after) == ("month", 5000, 74 * 60 + 30 + 17 * 86_400)
    assert (hour.code, hour.permanent) == ("budget_exhausted", False)
    assert "100" in str(hour)


@pytest.mark.parametrize(("month", "days"), [(1, 31), (2, 28), (12, 31)])
def test_a_month_is_that_of_the_calendar(month: int, days: int) -> None:
    (period,) = periods(Caps(0, 0, 0.5, month=1), NOW.replace(month=month))

    assert (period.since.day, period.since.hour, period.ends.day) == (1, 0, 1)
    assert period.ends - period.since == timedelta(days=days)


def test_a_full_minute_says_when_its_next_place_is_free() -> None:
    caps = Caps(0, 0, 0.5, minute=10)
    taken = {"1000": 4, "1020": 2}
    user = rate_refusal(taken, 5, caps, Purpose.USER, 1030.0)
    warm = rate_refusal(taken, 1, caps, Purpose.WARM, 1030.0)

    assert rate_refusal(taken, 4, caps, Purpose.USER, 1030.0) is None
    assert user is not None
    assert (user.period, user.cap, user.retry_after) == ("rate", 10, 31.0)
    assert "10 paid queries a minute" in str(user)
    assert warm is not None
    assert (warm.cap, warm.retry_after) == (5, 31.0)


def test_what_is_more_than_a_minutes_places_is_refused_and_no_call_is_made_that_large() -> None:
    never = rate_refusal({}, 11, Caps(0, 0, 0.5, minute=10), Purpose.USER, 1030.0)

    assert never is not None
    assert never.retry_after == 60
    assert largest_call(Caps(0, 0, 0.5, minute=10)) == 5
    assert largest_call(Caps(0, 0, 0.0, minute=10)) == 10
    assert largest_call(Caps(0, 0, 0.5, minute=1000)) == largest_call(Caps(9, 9, 0.5)) == 100
