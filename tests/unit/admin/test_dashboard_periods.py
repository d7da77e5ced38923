"""The steps that a period is cut into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from api_service.admin.dashboard.periods import PERIODS, buckets, chosen, labels

# 14:47 in Lima
NOW = datetime(2026, 1, 28, 19, 47, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("24h", "2026-01-27T15:00:00-05:00", "2026-01-28T14:00:00-05:00"),
        ("7d", "2026-01-21T15:00:00-05:00", "2026-01-28T12:00:00-05:00"),
        ("90d", "2025-10-31T00:00:00-05:00", "2026-01-28T00:00:00-05:00"),
    ],
)
def test_steps_begin_with_hours_and_days_of_lima_and_end_with_the_present_one(name: str, first: str, last: str) -> None:
    starts = buckets(PERIODS[name], NOW).starts()
    assert (starts[0].isoformat(), starts[-1].isoformat()) == (first, last)
    assert starts[-1] <= NOW < buckets(PERIODS[name], NOW).end


@pytest.mark.parametrize(("name", "days"), [("24h", 1), ("7d", 7), ("90d", 90)])
def test_the_whole_period_is_there(name: str, days: int) -> None:
    assert PERIODS[name].step * PERIODS[name].steps == timedelta(days=days)


def test_a_period_that_there_is_none_of_is_the_shortest() -> None:
    assert chosen({"period": "90d"}).name == "90d"
    assert chosen({"period": "year"}).name == "24h"
    assert chosen({}).name == "24h"


def test_a_step_without_a_value_stays_empty() -> None:
    of = buckets(PERIODS["24h"], NOW)
    spread = of.spread({0: 5.0, 23: 7.0})
    assert (spread[0], spread[1], spread[23]) == (5.0, None, 7.0)
    assert len(spread) == 24


def test_steps_are_named_in_the_time_of_lima() -> None:
    period = PERIODS["24h"]
    named = labels(period, buckets(period, NOW), lambda one: one.label)
    assert (named[0], named[-1]) == ("15:00", "14:00")
