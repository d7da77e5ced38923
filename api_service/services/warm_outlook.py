"""When warming will look at one RUC again, and what it will decide then: by the runs' own statistics and plan.

A forecast: reads that come until then change it, and a run has a limit and a budget that others may use up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Final

from django.conf import settings

from api_service.models import WarmRun
from api_service.services import beat_watch, warm_plan, warm_statistics, warming
from api_service.services.beat_rules import ByItself
from api_service.services.cache_service import MIGO
from api_service.services.subjects import RUC
from api_service.services.warm_plan import Cached, Candidate, Rules
from api_service.services.warm_refresh import lead
from api_service.services.warming import moment

DUE: Final = "due"
# Nobody has asked for it since habits are kept: no run has it among its candidates
UNREAD: Final = "unread"
# A run's own words for what does not end soon
FRESH: Final = "fresh"
KNOWN_INVALID: Final = "known_invalid"


@dataclass(frozen=True, slots=True)
class Outlook:
    """`at`: Unix seconds from which a run looks at it. `decision`: DUE, UNREAD or a run's reason to skip it.

    `reads`: how many are expected in the life of a new answer, `break_even`: below how many it is left alone.
    `by_itself`: whether there will be such a run at all, unless somebody starts one.
    """

    at: float
    decision: str
    reads: float
    break_even: float
    by_itself: ByItself


def of_ruc(ruc: str, answer_ends: float | None, negative_ends: float | None, now: float) -> Outlook:
    """The ends, in Unix seconds, of what the cache has of it; None for what it has not, inf for never. Six queries."""
    by_itself = beat_watch.by_itself(warming.TASK, datetime.fromtimestamp(now, UTC))
    ends = max(answer_ends or 0.0, negative_ends or 0.0)
    if not isfinite(ends):
        # Of another program that writes here, or of an old release: no run ever comes to its end
        return Outlook(now, FRESH if negative_ends is None else KNOWN_INVALID, 0.0, _break_even(), by_itself)
    at, life = max(now, ends - lead()), float(settings.CACHE_TTL_RUC)
    known, break_even = warm_statistics.of_one(MIGO, RUC, ruc, at, life), _break_even()
    if not known.keys:
        return Outlook(at, UNREAD, 0.0, break_even, by_itself)
    then, rates = moment(at, known.first), known.keys[0].rates
    cached = Cached(_of(ruc, answer_ends), _of(ruc, negative_ends))
    planned = warm_plan.plan([Candidate(ruc, rates)], cached, then, Rules(limit=1, break_even=break_even))
    decision = next(iter(planned.skipped), DUE)
    return Outlook(at, decision, warm_plan.reads_expected(rates, ends, then), break_even, by_itself)


def _of(ruc: str, ends: float | None) -> dict[str, float]:
    return {} if ends is None else {ruc: ends}


def _break_even() -> float:
    """As the last run has learned it."""
    last = WarmRun.objects.filter(break_even__isnull=False).order_by("-started_at").values_list("break_even", flat=True)
    return float(last.first() or settings.WARM_BREAK_EVEN)
