"""Money: every paid query is counted before it is made, and refused beyond the caps of minute, hour, day and month.

The ledger is written on a connection of its own: a caller that rolls back has paid all the same. Only in SQLite a
caller inside a transaction holds the one write lock there is; its entry is part of that transaction then.
"""

from __future__ import annotations

import logging
import operator
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from threading import Lock
from time import monotonic
from typing import TypeAlias

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from api_service.models import RateWindow, SpendHour
from api_service.sentences import sentence
from api_service.services import bounded, counters, metrics, rate_rules
from api_service.services.bounded import BoundedCalls, Breaker
from api_service.services.budget_rules import BudgetExhausted, Caps, Period, Purpose, periods, rate_refusal, refusal
from api_service.services.group_commit import GroupCommit
from api_service.services.providers import SpendLater

__all__ = ["BudgetExhausted", "BurstLimit", "Caps", "Ledger", "Purpose", "caps_in_force", "left_for_warming"]

logger = logging.getLogger(__name__)

# With a cap nothing is paid that is not entered: worth a longer wait than a benefit
CAP_SECONDS = 5.0
WARM_CAP_SECONDS = 20.0

Entry: TypeAlias = tuple[datetime, str, str]  # hour, service, purpose


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
    """Told by a provider before each HTTP attempt that may cost money (see `providers.Spend`). For one thread.

    Raises BudgetExhausted to forbid it, also beyond `limit`, the budget of one run, retries counted. With a cap the
    database is asked, and a call that cannot be shown to be inside it is refused. Without one a user's look-up waits
    at most `ANSWER_STORE_SECONDS` for its entry; while the database is in trouble entries wait in memory.

    Where the minute is full it raises SpendLater for as long as waiting is worth while: until `wait_until` (monotonic
    seconds); by default `MIGO_RATE_WAIT` for a user's single query, `MIGO_DEADLINE` for a call of many.
    """

    def __init__(
        self, service: str, purpose: Purpose, limit: int | None = None, *, wait_until: float | None = None
    ) -> None:
        self.service = service
        self.purpose = purpose
        self.limit = limit
        self.queries = 0
        self._wait_until = wait_until
        self._waiting_since: float | None = None

    def __call__(self, queries: int, *, retry: bool) -> None:
        purpose = Purpose.RETRY if retry and self.purpose is Purpose.USER else self.purpose
        if self.limit is not None and self.queries + queries > self.limit:
            raise BudgetExhausted("run", self.limit, 0.0)
        caps = caps_in_force()
        if caps.any or self.purpose is Purpose.WARM:
            self._reserve(purpose, queries, caps)
        else:
            enter(self.service, purpose, queries, timezone.now())
        self.queries += queries
        metrics.paid(self.service, purpose, queries)

    def _reserve(self, purpose: Purpose, queries: int, caps: Caps) -> None:
        try:
            _reserve_in_time(self.service, purpose, queries, caps, timezone.now())
        except BudgetExhausted as full:
            if full.period == "rate" and self._is_worth_waiting(queries, full.retry_after):
                raise SpendLater(full.retry_after) from full
            raise
        self._waiting_since = None

    def _is_worth_waiting(self, queries: int, seconds: float) -> bool:
        now = monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        patience = settings.MIGO_RATE_WAIT if queries == 1 and self.purpose is Purpose.USER else settings.MIGO_DEADLINE
        until = self._waiting_since + patience if self._wait_until is None else self._wait_until
        return now + seconds <= until


def caps_in_force() -> Caps:
    return Caps(
        hour=settings.MIGO_MAX_PER_HOUR,
        day=settings.MIGO_MAX_PER_DAY,
        warm_share=settings.WARM_SHARE,
        month=settings.MIGO_MAX_PER_MONTH,
        minute=settings.MIGO_MAX_PER_MINUTE,
    )


def left_for_warming(service: str, caps: Caps, now: datetime) -> int | None:
    """Paid queries that the caps still leave to warming, None without caps: a batch is cut to fit, or none would.

    The minute is not among them: it is waited for.
    """
    capped = periods(caps, timezone.localtime(now))
    paid = spent_in(service, capped)
    left = [caps.for_purpose(period.cap, Purpose.WARM) - paid[period.name] for period in capped]
    return max(0, min(left)) if left else None


def seconds_until_places(service: str, purpose: Purpose, queries: int) -> float:
    """Seconds until so many queries have their places in the minute, as it is now; 0 where no rate is set."""
    caps, now = caps_in_force(), timezone.now().timestamp()
    if not caps.minute:
        return 0.0
    window = RateWindow.objects.filter(service=service).first()
    taken = rate_rules.within(window.taken, now) if window else {}
    full = rate_refusal(taken, queries, caps, purpose, now)
    return full.retry_after if full else 0.0


def reserve(
    service: str, purpose: Purpose, queries: int, caps: Caps, now: datetime, started: float | None = None
) -> None:
    """Enter the queries, then look at the sums: two callers at once cannot both fit into the last place.

    The row of users' queries is written first, whatever the purpose: its lock puts all callers in line. Without a cap
    the entry is one statement. `started` is
    monotonic and the moment of `now`: places of a minute are taken when the lock is had, which may be later.
    """
    started = monotonic() if started is None else started
    local = timezone.localtime(now)
    hour = local.replace(minute=0, second=0, microsecond=0)
    if not caps.any:
        counters.add(SpendHour, ("hour", "service", "purpose"), "queries", [(hour, service, purpose.value, queries)])
        return
    with transaction.atomic():
        if caps.minute:
            _take_places(service, purpose, queries, caps, lambda: now.timestamp() + monotonic() - started)
        entries = {Purpose.USER: 0, purpose: queries}
        rows = [(hour, service, name.value, number) for name, number in entries.items()]
        counters.add(SpendHour, ("hour", "service", "purpose"), "queries", rows)
        if no := refusal(spent_in(service, periods(caps, local)), caps, purpose, local):
            raise no


def _take_places(service: str, purpose: Purpose, queries: int, caps: Caps, clock: Callable[[], float]) -> None:
    """Under the row's lock, until the end of the transaction: all processes on all hosts see the same minute."""
    RateWindow.objects.get_or_create(service=service)
    window = RateWindow.objects.select_for_update().get(service=service)
    now = clock()
    taken = rate_rules.within(window.taken, now)
    if no := rate_refusal(taken, queries, caps, purpose, now):
        raise no
    RateWindow.objects.filter(pk=window.pk).update(taken=rate_rules.with_more(taken, queries, now))


def _reserve_in_time(service: str, purpose: Purpose, queries: int, caps: Caps, now: datetime) -> None:
    """A frozen database refuses a user's look-up instead of holding it; a task has more time.

    An entry that comes too late stays: the ledger shows a query that was not paid for, never the other way round.
    """
    act = partial(reserve, service, purpose, queries, caps, now, monotonic())
    holds_the_lock = connection.vendor == "sqlite" and connection.in_atomic_block
    if settings.ANSWER_STORE_SECONDS <= 0 or holds_the_lock:
        act()
    else:
        _capped.call(act, WARM_CAP_SECONDS if purpose is Purpose.WARM else CAP_SECONDS)


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


_capped = BoundedCalls("ledger-reader", Breaker(sentence("capped ledger")))
# An entry is a few numbers an hour: a year of them fits
_entries: GroupCommit[Entry, int] = GroupCommit(bounded.ledger_writes, _write, operator.add, 10_000)


def spent(service: str, since: datetime) -> int:
    """Paid queries of the hours from `since` on."""
    rows = SpendHour.objects.filter(service=service, hour__gte=since)
    return rows.aggregate(total=Sum("queries"))["total"] or 0


def spent_in(service: str, of: Sequence[Period]) -> dict[str, int]:
    """Paid queries by the name of each period; one query for all."""
    if not of:
        return {}
    # An alias like the column's own name would be taken for it
    sums = {f"of_{period.name}": Sum("queries", filter=Q(hour__gte=period.since)) for period in of}
    rows = SpendHour.objects.filter(service=service, hour__gte=min(period.since for period in of))
    return {name.removeprefix("of_"): total or 0 for name, total in rows.aggregate(**sums).items()}
