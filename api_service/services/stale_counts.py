"""Never stale in silence: old answers that were shown, counted by reason with the age of the oldest.

Counted in the process and written by a thread of its own: nobody who looks up waits for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from django.db import transaction
from django.db.models import Max, Sum
from django.utils import timezone

from api_service.models import StaleServed
from api_service.sentences import sentence
from api_service.services import counters, metrics
from api_service.services.bounded import Breaker
from api_service.services.freshness import REFRESHING
from api_service.services.group_commit import GroupCommit

PERIOD_SECONDS = 300
# Two health runs: none of what is shown falls between them
LOOKED_AT = timedelta(minutes=10)
KEPT = timedelta(days=90)

Entry: TypeAlias = tuple[int, str, str, str]  # start of the five minutes (Unix seconds), service, kind, reason


@dataclass(frozen=True, slots=True)
class Shown:
    answers: int
    oldest: float


def together(older: Shown, newer: Shown) -> Shown:
    return Shown(older.answers + newer.answers, max(older.oldest, newer.oldest))


def _write(items: Mapping[Entry, Shown]) -> None:
    rows = [
        (datetime.fromtimestamp(start, tz=timezone.get_default_timezone()), *names, shown.answers, shown.oldest)
        for (start, *names), shown in sorted(items.items(), key=lambda item: item[0])
    ]
    with transaction.atomic():
        counters.add(StaleServed, ("since", "service", "kind", "reason"), "answers", rows, latest=("oldest_seconds",))


_breaker = Breaker(sentence("old answers shown"))
_counts: GroupCommit[Entry, Shown] = GroupCommit(_breaker, _write, together, 10_000)


def note(service: str, kind: str, reason: str, age: float, now: float) -> None:
    """One old answer was shown at `now` (Unix seconds), made `age` seconds before."""
    metrics.shown_old(service, kind, reason)
    start = int(now) // PERIOD_SECONDS * PERIOD_SECONDS
    _counts.put({(start, service[:50], kind[:50], reason[:50]): Shown(1, round(max(0.0, age), 1))})


@dataclass(frozen=True, slots=True)
class Trouble:
    """Old answers of one service that were shown because no newer one could be had."""

    service: str
    answers: int
    oldest: float
    reasons: tuple[str, ...]


def troubles(now: datetime) -> list[Trouble]:
    """Of the last minutes. Raises what the database does."""
    rows = StaleServed.objects.filter(since__gte=now - LOOKED_AT).exclude(reason=REFRESHING)
    sums = rows.values("service").annotate(shown=Sum("answers"), oldest=Max("oldest_seconds")).order_by("service")
    reasons = sorted(set(rows.values_list("service", "reason")))
    return [
        Trouble(row["service"], row["shown"], row["oldest"], tuple(r for name, r in reasons if name == row["service"]))
        for row in sums
    ]


def flush(seconds: float) -> bool:
    """Whether all is written, waited for at most so long."""
    return _counts.flush(seconds)
