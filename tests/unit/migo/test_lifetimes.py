"""How long an exchange rate holds."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from api_service.services.lifetimes import DAY, HOUR, rate_life

LIMA = ZoneInfo("America/Lima")


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-28T{clock}").replace(tzinfo=LIMA)


@pytest.mark.parametrize("day", ["latest", "2026-01-28", "2026-01-29"])
@pytest.mark.parametrize(
    ("clock", "seconds"),
    [("12:00:00", HOUR), ("04:59:59", HOUR), ("05:30:00", 1800.0), ("05:59:59", 1.0), ("06:00:00", HOUR)],
)
def test_what_may_still_change_is_kept_until_six_and_for_an_hour_at_most(day: str, clock: str, seconds: float) -> None:
    assert rate_life(day, at(clock)) == seconds


@pytest.mark.parametrize("clock", ["00:00:01", "05:59:59", "23:59:59"])
def test_a_past_days_rate_is_kept_for_a_day(clock: str) -> None:
    assert rate_life("2026-01-27", at(clock)) == DAY
    assert rate_life("2000-12-31", at(clock)) == DAY
