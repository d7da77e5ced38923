"""What was counted hour by hour, and every five minutes: look-ups, paid queries, calls, old answers, the account."""

from __future__ import annotations

from datetime import datetime, timedelta

from api_service.models import (
    AccountReading,
    CircuitChange,
    LookupHour,
    LookupTime,
    RateWindow,
    SpendHour,
    StaleServed,
    UpstreamCalls,
    UpstreamCircuit,
)
from tests.history import Size, series
from tests.history.health import share

HOUR = timedelta(hours=1)
# In the busiest hour, by outcome
LOOKUPS = {"hit": 5400, "negative": 260, "miss": 610, "stale": 45}
# Of the busiest hour's look-ups one by one, by the step that their time is in
TIMES = {
    "cache": {100: 20, 250: 3300, 500: 1900, 1_000: 380, 2_500: 90, 10_000: 8},
    "store": {2_500: 40, 5_000: 25, 10_000: 5},
    "upstream": {250_000: 60, 500_000: 330, 1_000_000: 130, 2_500_000: 20},
    "failed": {5_000_000: 2},
}
PAID = {"user": 540, "warm": 160, "retry": 6}
READINGS_LEFT = 2_000_000


def fill(size: Size, now: datetime, _nodes: tuple[str, ...]) -> None:
    hours = [now.replace(minute=0, second=0, microsecond=0) - HOUR * number for number in range(24 * size.days)]
    LookupHour.objects.bulk_create(
        (
            LookupHour(hour=hour, service="migo", kind=kind, outcome=outcome, count=1 + int(most * share(hour) / part))
            for hour in hours
            for kind, part in (("ruc", 1), ("dni", 40))
            for outcome, most in LOOKUPS.items()
        ),
        batch_size=5000,
    )
    LookupTime.objects.bulk_create(
        (
            LookupTime(hour=hour, service="migo", way=way, bound=bound, count=1 + int(most * share(hour)))
            for hour in hours
            for way, steps in TIMES.items()
            for bound, most in steps.items()
        ),
        batch_size=5000,
    )
    SpendHour.objects.bulk_create(
        SpendHour(hour=hour, service="migo", purpose=purpose, queries=1 + int(most * share(hour)))
        for hour in hours
        for purpose, most in PAID.items()
    )
    _calls(size, now)
    _account(hours, now)
    _circuit(size, now)


def _calls(size: Size, now: datetime) -> None:
    """Of every five minutes; old answers of every half hour. No chart is drawn of either."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    for outcome, most in (("answered", 45), ("upstream_timeout", 2)):
        columns = {"service": "'migo'", "outcome": f"'{outcome}'", "calls": f"1 + x % {most}"}
        series.insert(UpstreamCalls, 288 * size.days, since=series.moment(hour, "300 * x"), **columns)
    for reason in ("refreshing", "upstream_timeout"):
        names = {"service": "'migo'", "kind": "'ruc'", "reason": f"'{reason}'"}
        since = series.moment(hour, "1800 * x")
        series.insert(StaleServed, 48 * size.days, since=since, answers="3", oldest_seconds="4200.0", **names)


def _account(hours: list[datetime], now: datetime) -> None:
    AccountReading.objects.bulk_create(
        AccountReading(
            service="migo",
            taken_at=min(hour + timedelta(minutes=9), now),
            queries_left=READINGS_LEFT + 420 * number,
            spent_in_hour=40,
            spent=420,
            divergence=number % 3,
        )
        for number, hour in enumerate(hours)
    )


def _circuit(size: Size, now: datetime) -> None:
    UpstreamCircuit.objects.create(service="migo", changed_at=now - timedelta(hours=3))
    RateWindow.objects.create(service="migo", taken={str(int(now.timestamp()) - 20): 7})
    CircuitChange.objects.bulk_create(
        CircuitChange(
            service="migo",
            at=now - timedelta(hours=3 * number),
            state=("closed", "half_open", "open")[number % 3],
            reason="upstream_timeout: no answer in time" if number % 3 == 2 else "",
        )
        for number in range(6 * size.days)
    )
