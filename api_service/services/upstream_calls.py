"""Calls of paid services by how they ended, in steps of five minutes: what the error share of a health run is made of.

Counted in the process and written by a thread of its own: nobody who looks up waits for that. A process that is killed
loses those of the last `READ_FLUSH_SECONDS`.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from api_service.models import UpstreamCalls
from api_service.sentences import sentence
from api_service.services import counters
from api_service.services.around_rules import ANSWERED
from api_service.services.bounded import Breaker
from api_service.services.errors import UpstreamError
from api_service.services.group_commit import GroupCommit

PERIOD_SECONDS: Final = 300
# Two periods, and two health runs
LOOKED_AT: Final = timedelta(minutes=10)
KEPT: Final = timedelta(days=90)

Entry: TypeAlias = tuple[int, str, str]  # start of the five minutes (Unix seconds), service, outcome


def _write(items: Mapping[Entry, int]) -> None:
    rows = [
        (datetime.fromtimestamp(start, tz=timezone.get_default_timezone()), *names, calls)
        for (start, *names), calls in sorted(items.items())
    ]
    with transaction.atomic():
        counters.add(UpstreamCalls, ("since", "service", "outcome"), "calls", rows)


_counts: GroupCommit[Entry, int] = GroupCommit(
    Breaker(sentence("calls of services")), _write, operator.add, 10_000, lambda: settings.READ_FLUSH_SECONDS / 2
)


def note(service: str, ended: Sequence[UpstreamError | None], now: float) -> None:
    """One call ended at `now` (Unix seconds): with these errors, None where it brought an answer."""
    if settings.READ_FLUSH_SECONDS > 0:
        start = int(now) // PERIOD_SECONDS * PERIOD_SECONDS
        _counts.put({(start, service[:50], outcome(ended)): 1})


def outcome(ended: Sequence[UpstreamError | None]) -> str:
    """One answer for anything that was asked for is an answer."""
    errors = [error for error in ended if error is not None]
    return ANSWERED if len(errors) < len(ended) or not errors else errors[0].code[:50]


def lately(now: datetime) -> dict[str, dict[str, int]]:
    """Calls of the last minutes by service and outcome. Raises what the database does."""
    rows = UpstreamCalls.objects.filter(since__gt=now - LOOKED_AT - timedelta(seconds=PERIOD_SECONDS))
    found: dict[str, dict[str, int]] = {}
    for service, ended, calls in rows.values_list("service", "outcome").annotate(Sum("calls")):
        found.setdefault(service, {})[ended] = calls
    return found


def flush(seconds: float) -> bool:
    """Whether all is written, waited for at most so long."""
    return _counts.flush(seconds)
