"""Money: every paid query is counted before it is made, and refused beyond the caps of the hour and the day."""

from __future__ import annotations

import logging
import operator
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from threading import Lock
from typing import TypeAlias

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Sum
from django.utils import timezone

from api_service.models import SpendHour
from api_service.services import bounded, counters
from api_service.services.bounded import BoundedCalls, Breaker
from api_service.services.group_commit import GroupCommit

logger = logging.getLogger(__name__)

# With a cap nothing is paid that is not entered: worth a longer wait than a benefit
CAP_SECONDS = 5.0

Entry: TypeAlias = tuple[datetime, str, str]  # hour, service, purpose


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

    @property
    def any(self) -> bool:
        return bool(self.hour or self.day)


class BudgetExhausted(Exception):
    """A cap forbids the call. `retry_after` is in seconds: when the hour, or the day, begins anew; 0 for a run's."""

    code = "budget_exhausted"
    permanent = False

    def __init__(self, period: str, cap: int, retry_after: float) -> None:
        super().__init__(f"the cap of {cap} paid queries a {period} is reached")
        self.period = period
        self.cap = cap
        self.retry_after = retry_after


def refusal(spent_hour: int, spent_day: int, caps: Caps, purpose: Purpose, now: datetime) -> BudgetExhausted | None:
    """Why spending forbids it, pure. Both sums include the call in question; `now` is in local time."""
    share = caps.warm_share if purpose is Purpose.WARM else 1.0
    next_hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    if caps.hour and spent_hour > int(caps.hour * share):
        return BudgetExhausted("hour", int(caps.hour * share), (next_hour - now).total_seconds())
    if caps.day and spent_day > int(caps.day * share):
        return BudgetExhausted("day", int(caps.day * share), (midnight - now).total_seconds())
    return None


class BurstLimit:
    """At most so many paid queries a minute in this process, for as long as nothing else holds them back."""

    def __init__(self, per_minute: Callable[[], int]) -> None:
        self._per_minute = per_minute
        self._taken: deque[float] = deque()
        self._lock = Lock()

    def check(self, queries: int, now: float) -> None:
        """Take places for `queries`, or raise BudgetExhausted; `now` is monotonic seconds."""
        if not queries:
            return
        with self._lock:
            while self._taken and self._taken[0] <= now - 60:
                self._taken.popleft()
            if len(self._taken) + queries > self._per_minute():
                oldest = self._taken[0] if self._taken else now
                raise BudgetExhausted("minute", self._per_minute(), max(1.0, oldest + 60 - now))
            self._taken.extend([now] * queries)


class Ledger:
    """Told by a provider before each HTTP attempt that may cost money (see `providers.Spend`).

    Raises BudgetExhausted to forbid it, also beyond `limit`, the budget of one run, retries counted. With a cap the
    database is asked, and a call that cannot be shown to be inside it is refused. Without one a user's look-up waits
    at most `ANSWER_STORE_SECONDS` for its entry; while the database is in trouble entries wait in memory.
    """

    def __init__(self, service: str, purpose: Purpose, limit: int | None = None) -> None:
        self.service = service
        self.purpose = purpose
        self.limit = limit
        self.queries = 0

    def __call__(self, queries: int, *, retry: bool) -> None:
        purpose = Purpose.RETRY if retry and self.purpose is Purpose.USER else self.purpose
        if self.limit is not None and self.queries + queries > self.limit:
            raise BudgetExhausted("run", self.limit, 0.0)
        caps = caps_in_force()
        if caps.any or self.purpose is Purpose.WARM:
            _reserve_in_time(self.service, purpose, queries, caps, timezone.now())
        else:
            enter(self.service, purpose, queries, timezone.now())
        self.queries += queries


def caps_in_force() -> Caps:
    return Caps(settings.MIGO_MAX_PER_HOUR, settings.MIGO_MAX_PER_DAY, settings.WARM_SHARE)


def left_for_warming(service: str, caps: Caps, now: datetime) -> int | None:
    """Paid queries that the caps still leave to warming, None without caps: a batch is cut to fit, or none would."""
    hour = timezone.localtime(now).replace(minute=0, second=0, microsecond=0)
    periods = ((caps.hour, hour), (caps.day, hour.replace(hour=0)))
    left = [int(cap * caps.warm_share) - spent(service, since) for cap, since in periods if cap]
    return max(0, min(left)) if left else None


def reserve(service: str, purpose: Purpose, queries: int, caps: Caps, now: datetime) -> None:
    """Enter the queries, then look at the sums: two callers at once cannot both fit into the last place.

    The row of users' queries is written first, whatever the purpose: its lock puts all callers in line.
    """
    local = timezone.localtime(now)
    hour = local.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    with transaction.atomic():
        entries = {Purpose.USER: 0, purpose: queries}
        rows = [(hour, service, name.value, number) for name, number in entries.items()]
        counters.add(SpendHour, ("hour", "service", "purpose"), "queries", rows)
        if caps.any and (no := refusal(spent(service, hour), spent(service, day), caps, purpose, local)):
            raise no


def _reserve_in_time(service: str, purpose: Purpose, queries: int, caps: Caps, now: datetime) -> None:
    """A frozen database refuses a user's look-up instead of holding it; a task has its own limit of time.

    An entry that comes too late stays: the ledger shows a query that was not paid for, never the other way round.
    """
    act = partial(reserve, service, purpose, queries, caps, now)
    if settings.ANSWER_STORE_SECONDS <= 0 or purpose is Purpose.WARM or connection.in_atomic_block:
        act()
    else:
        _capped.call(act, CAP_SECONDS)


def enter(service: str, purpose: Purpose, queries: int, now: datetime) -> None:
    """Enter queries that no cap forbids: a database in trouble is waited for as little as by the answer store."""
    hour = timezone.localtime(now).replace(minute=0, second=0, microsecond=0)
    entry, seconds = {(hour, service, purpose.value): queries}, settings.ANSWER_STORE_SECONDS
    if seconds <= 0:
        _enter_now(entry)
    elif connection.vendor == "sqlite" and connection.in_atomic_block:
        # The caller holds the only write lock there is: it would wait for itself
        _entries.put(entry)
    else:
        _entries.hand_over(entry, seconds)


def _enter_now(entries: Mapping[Entry, int]) -> None:
    try:
        _write(entries)
    except (DatabaseError, InterfaceError):
        logger.exception("%d paid queries could not be entered in the ledger", sum(entries.values()))


def _write(entries: Mapping[Entry, int]) -> None:
    with transaction.atomic():
        rows = [(*entry, queries) for entry, queries in sorted(entries.items())]
        counters.add(SpendHour, ("hour", "service", "purpose"), "queries", rows)


_capped = BoundedCalls("ledger-reader", Breaker("capped ledger"))
# An entry is a few numbers an hour: a year of them fits
_entries: GroupCommit[Entry, int] = GroupCommit(bounded.ledger_writes, _write, operator.add, 10_000)


def spent(service: str, since: datetime) -> int:
    """Paid queries of the hours from `since` on."""
    rows = SpendHour.objects.filter(service=service, hour__gte=since)
    return rows.aggregate(total=Sum("queries"))["total"] or 0
