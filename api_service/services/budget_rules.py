"""What may be spent: caps, shares and their periods. Pure; `now` is in local time, where days and months begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Final

from api_service.sentences import sentence
from api_service.services import rate_rules
from api_service.services.rate_rules import WINDOW, Taken

LARGEST_CALL: Final = 100


class Purpose(StrEnum):
    USER = "user"
    WARM = "warm"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Caps:
    """Paid queries at most; 0 is no cap. Warming may use `warm_share` of each, a user's look-up all of it."""

    hour: int
    day: int
    warm_share: float
    month: int = 0
    minute: int = 0

    @property
    def any(self) -> bool:
        return bool(self.minute or self.hour or self.day or self.month)

    def for_purpose(self, cap: int, purpose: Purpose) -> int:
        return int(cap * self.warm_share) if purpose is Purpose.WARM else cap


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar period with a cap: `since` its beginning until `ends`."""

    name: str
    cap: int
    since: datetime
    ends: datetime


# "rate" is that of all processes together
REACHED = {
    "rate": sentence("the cap of %(cap)s paid queries a minute is reached"),
    "minute": sentence("the cap of %(cap)s paid queries a minute is reached"),
    "hour": sentence("the cap of %(cap)s paid queries a hour is reached"),
    "day": sentence("the cap of %(cap)s paid queries a day is reached"),
    "month": sentence("the cap of %(cap)s paid queries a month is reached"),
    "run": sentence("the cap of %(cap)s paid queries a run is reached"),
}


class BudgetExhausted(Exception):
    """A cap forbids the call. `retry_after` is in seconds: when its period begins anew; 0 for that of a run.

    `period`: "rate" (a minute, over all processes), "hour", "day", "month", "run", or "minute": that of one process
    while the cache is down.
    """

    code = "budget_exhausted"
    permanent = False

    def __init__(self, period: str, cap: int, retry_after: float) -> None:
        super().__init__(REACHED[period] % {"cap": cap})
        self.period = period
        self.cap = cap
        self.retry_after = retry_after


def periods(caps: Caps, now: datetime) -> list[Period]:
    """Those that have a cap, the shortest first."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    month = day.replace(day=1)
    found = (
        Period("hour", caps.hour, hour, hour + timedelta(hours=1)),
        Period("day", caps.day, day, day + timedelta(days=1)),
        Period("month", caps.month, month, (month + timedelta(days=32)).replace(day=1)),
    )
    return [period for period in found if period.cap]


def refusal(spent: Mapping[str, int], caps: Caps, purpose: Purpose, now: datetime) -> BudgetExhausted | None:
    """Why spending forbids it. `spent` by name of the period, the call in question included."""
    for period in periods(caps, now):
        most = caps.for_purpose(period.cap, purpose)
        if spent[period.name] > most:
            return BudgetExhausted(period.name, most, (period.ends - now).total_seconds())
    return None


def rate_refusal(taken: Taken, queries: int, caps: Caps, purpose: Purpose, now: float) -> BudgetExhausted | None:
    """Why the last minute has no place for it, and when it will; a minute for what never fits. `now` is Unix time."""
    most = caps.for_purpose(caps.minute, purpose)
    wait = rate_rules.wait_for(taken, queries, most, now)
    return BudgetExhausted("rate", most, wait if isfinite(wait) else WINDOW) if wait else None


def largest_call(caps: Caps) -> int:
    """Queries that one call may have: what is more than a minute's places would never find them."""
    shares = [caps.minute, caps.for_purpose(caps.minute, Purpose.WARM)]
    return min([LARGEST_CALL, *(share for share in shares if share)])
