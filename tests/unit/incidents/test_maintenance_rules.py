"""Once and weekly, over midnight, for everything, a service or a node."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from api_service.services.maintenance_rules import Window, concerns, covering, covers, ends_at

LIMA = ZoneInfo("America/Lima")
NODE = "10.0.0.1:11211"


def lima(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=LIMA)


# A Saturday, an hour before midnight
ONCE = Window("move", lima("2026-01-31 23:00"), timedelta(hours=2))
WEEKLY = Window("patch night", lima("2026-01-31 23:00"), timedelta(hours=2), weekly=True)


@pytest.mark.parametrize(
    ("now", "lasts"),
    [
        ("2026-01-31 22:59:59", False),
        ("2026-01-31 23:00", True),
        ("2026-02-01 00:59:59", True),
        ("2026-02-01 01:00", False),
        ("2026-02-07 23:30", False),
    ],
)
def test_a_window_once_lasts_from_its_start_to_its_end(now: str, lasts: bool) -> None:
    assert covers(ONCE, NODE, lima(now), LIMA) is lasts


@pytest.mark.parametrize(
    ("now", "lasts"),
    [
        ("2026-01-24 23:30", False),
        ("2026-01-31 23:30", True),
        ("2026-02-07 22:59:59", False),
        ("2026-02-07 23:00", True),
        ("2026-02-08 00:30", True),
        ("2026-02-08 01:00", False),
        ("2026-02-11 23:30", False),
        ("2027-01-30 23:30", True),
    ],
)
def test_a_weekly_window_comes_again_at_the_same_hour_of_lima_but_not_before_its_first_time(
    now: str, lasts: bool
) -> None:
    assert covers(WEEKLY, NODE, lima(now), LIMA) is lasts
    assert covers(WEEKLY, NODE, lima(now).astimezone(UTC), LIMA) is lasts


def test_a_start_that_is_kept_in_utc_is_on_the_day_that_it_is_in_lima() -> None:
    """23:00 on Saturday in Lima is Sunday in UTC."""
    window = Window("patch night", lima("2026-01-31 23:00").astimezone(UTC), timedelta(hours=2), weekly=True)
    assert ends_at(window, lima("2026-02-08 00:30"), LIMA) == lima("2026-02-08 01:00")


def test_a_weekly_window_keeps_its_hour_through_summer_time() -> None:
    madrid = ZoneInfo("Europe/Madrid")
    start = datetime(2026, 3, 22, 3, 0, tzinfo=madrid)
    window = Window("patch night", start, timedelta(hours=1), weekly=True)
    assert covers(window, NODE, datetime(2026, 3, 29, 3, 30, tzinfo=madrid), madrid)
    assert not covers(window, NODE, datetime(2026, 3, 29, 4, 30, tzinfo=madrid), madrid)


def test_a_window_of_the_whole_week_never_ends() -> None:
    window = Window("for ever", lima("2026-01-31 23:00"), timedelta(days=7), weekly=True)
    assert all(covers(window, NODE, lima("2026-02-01 00:00") + timedelta(hours=hour), LIMA) for hour in range(400))


@pytest.mark.parametrize(
    ("service", "node", "told_of", "covered"),
    [
        ("", "", NODE, True),
        ("", "", "", True),
        ("migo", "", "migo", True),
        ("migo", "", "migo/day", True),
        ("migo", "", "migolino", False),
        ("migo", "", NODE, False),
        ("", NODE, NODE, True),
        ("", NODE, "10.0.0.1:112", False),
        ("", NODE, "", False),
        ("migo", NODE, "migo", True),
        ("migo", NODE, NODE, True),
    ],
)
def test_a_window_covers_everything_or_a_service_or_a_node(
    service: str, node: str, told_of: str, covered: bool
) -> None:
    window = Window("move", ONCE.starts_at, ONCE.length, service=service, node=node)
    assert concerns(window, told_of) is covered


def test_the_name_of_the_window_that_covers_it_is_told() -> None:
    other = Window("of another", ONCE.starts_at, ONCE.length, node="10.0.0.2:11211")
    assert covering([other, WEEKLY], NODE, lima("2026-01-31 23:30"), LIMA) == "patch night"
    assert covering([other], NODE, lima("2026-01-31 23:30"), LIMA) == ""
