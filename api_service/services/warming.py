"""Warming: RUCs that will be asked for are loaded again before they expire. Store first (free), paid calls last.

A run killed at any point and started again pays for no RUC twice: each answer is kept before the next is asked
for, and what is fresh is not due. Only calls that were under way at the kill are the vendor's word against ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import time
from typing import Any, TypedDict

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from api_service.models import WarmRun
from api_service.sentences import sentence
from api_service.services import counted, leases, tracking, warm_results, warm_statistics
from api_service.services.cache_service import INVALID_KEY, MIGO, RUC_KEY, APICacheService
from api_service.services.leases import LeaseLost, renewed_lease
from api_service.services.outcomes import CacheRead, Outcome
from api_service.services.own_hits import Operation
from api_service.services.redaction import redact
from api_service.services.ruc import is_valid
from api_service.services.subjects import RUC
from api_service.services.warm_plan import Cached, Candidate, Moment, Plan, Rules, plan
from api_service.services.warm_refresh import Refresh, Request, lead

INTERRUPTED = sentence("interrupted: its worker stopped before the end")
_REFUSED = "another warm run was under way"
ANOTHER = sentence("another warm run was under way: start it again")
ANOTHER_RUN = sentence("another warm run was under way (run %(run)s): start it again")
# A killed run blocks the next one for so long at most
LEASE_SECONDS = 90.0
# Statistics are looked at closer than the limit says: some of the best will be fresh
SHORTLIST = 4
# More is a slip of the finger, and would not fit into the run's row
LARGEST_NUMBER = 1_000_000
LOCK = "warm_frequent_rucs"
TASK = "workers.tasks.warm_frequent_rucs"


class WarmSummary(TypedDict):
    run: int
    state: str
    dry_run: bool
    candidates: int
    due: int
    from_store: int
    paid: int
    refreshed: int
    failed: int
    skipped: dict[str, int]
    break_even: float | None
    error: str


def request(
    limit: int | None = None,
    budget: int | None = None,
    rucs: Sequence[str] | None = None,
    *,
    dry_run: bool = False,
    spread: float = 0.0,
    requested_by: str = "",
) -> Request:
    """A checked request with the settings' defaults; `requested_by` is "" for the schedule's.

    ValueError names the argument that cannot be.
    """
    if rucs is not None and not rucs:
        raise ValueError(sentence("rucs: an empty list; leave it out to let the statistics choose"))
    rucs = rucs or ()
    wrong = [ruc for ruc in rucs if not is_valid(ruc)]
    if wrong:
        shown = ", ".join(repr(ruc[:20]) for ruc in wrong[:5])
        raise ValueError(sentence("rucs: %(rucs)s: not a valid RUC (11 digits with check digit)") % {"rucs": shown})
    for name, value in (("limit", limit), ("budget", budget)):
        if value is not None and value < 0:
            raise ValueError(sentence("%(name)s: %(value)s is negative") % {"name": name, "value": value})
        if value is not None and value > LARGEST_NUMBER:
            raise ValueError(sentence("%(name)s: at most %(most)s") % {"name": name, "most": LARGEST_NUMBER})
    return Request(
        settings.WARM_LIMIT if limit is None else limit,
        settings.WARM_BUDGET if budget is None else budget,
        tuple(dict.fromkeys(rucs)),
        dry_run,
        spread=spread,
        requested_by=requested_by[:150],
    )


def run(asked: Request) -> WarmSummary | None:
    """One run, recorded; None while another one is under way, here or anywhere. Raises LeaseLost, as leases do."""
    with renewed_lease(LOCK, LEASE_SECONDS, 0.0) as held:
        return None if held is None else warm(asked, held.renew)


def record_refused(asked: Request, *, again: bool = False) -> None:
    """A row for a run that another one was in the way of: over HTTP nobody sees what a task returns.

    `again`: its message had been delivered before. What it finds under way is its own run then, whose row will tell.
    """
    other = _running().order_by("-pk").first()
    if not (again and other is not None and _is_of(other, asked)):
        _end(WarmRun(**_asked(asked)), WarmRun.State.FAILED, _in_the_way(other))


def last() -> WarmRun | None:
    """The newest that was let begin: one that was refused did nothing, and nothing of it failed."""
    return WarmRun.objects.exclude(error__startswith=_REFUSED).order_by("-started_at").first()


def warm(asked: Request, renew: Callable[[], None] = lambda: None) -> WarmSummary:
    """One run, recorded. For who holds its lock, which `renew` keeps: rows left running by a killed run are closed."""
    for left in _running():
        _interrupt(left, timezone.now())
    tracking.flush_now()
    warm_results.settle(timezone.now())
    row = WarmRun.objects.create(**_asked(asked))
    try:
        steps, planned_at = counted.Steps(Operation.WARM_RUN, APICacheService()), time()
        planned = _plan(steps, asked, row)
        if not asked.dry_run:
            Refresh(steps, asked, row, renew, planned_at).all_of(planned.due)
    except LeaseLost:
        # The rows may be another process's by now
        raise
    except Exception as error:
        _end(row, WarmRun.State.FAILED, redact(f"{type(error).__name__}: {error}")[:300])
        raise
    _end(row, WarmRun.State.FAILED if row.failed else WarmRun.State.DONE, row.error)
    return _summary(row, len(planned.due))


def _asked(asked: Request) -> dict[str, Any]:
    """What a row has from the beginning."""
    return {
        "started_at": timezone.now(),
        "requested_by": asked.requested_by,
        "dry_run": asked.dry_run,
        "limit": asked.limit,
        "budget": asked.budget,
    }


def _is_of(row: WarmRun, asked: Request) -> bool:
    return (row.requested_by, row.dry_run, row.limit, row.budget) == (
        *(asked.requested_by, asked.dry_run, asked.limit, asked.budget),
    )


def _in_the_way(other: WarmRun | None) -> str:
    return ANOTHER_RUN % {"run": other.pk} if other else ANOTHER


def _plan(steps: counted.Steps, asked: Request, row: WarmRun) -> Plan:
    now, experience = time(), warm_results.experience(timezone.now())
    candidates, first = _candidates(asked, now)
    names = [candidate.ruc for candidate in candidates]
    cache = steps.service
    with steps.one():
        reads = cache.read_many([RUC_KEY + ruc for ruc in names])
        ends = _ends(reads, RUC_KEY, names)
        # What is fresh is left alone whatever else is there: to ask would be thousands of misses that nobody had
        due = [ruc for ruc in names if ends.get(ruc, 0.0) <= now + lead()]
        negatives = cache.read_many([INVALID_KEY + ruc for ruc in due])
    unknown = {ruc for ruc in due if _unknown(reads[RUC_KEY + ruc].outcome, negatives[INVALID_KEY + ruc].outcome)}
    row.break_even = None if asked.rucs else settings.WARM_BREAK_EVEN / warm_results.calibration(experience)
    planned = plan(
        [candidate for candidate in candidates if candidate.ruc not in unknown],
        Cached(ends, _ends(negatives, INVALID_KEY, due)),
        moment(now, first),
        Rules(asked.limit, row.break_even or 0.0, recheck_share=1.0 if asked.rucs else settings.WARM_RECHECK_SHARE),
    )
    row.candidates = len(candidates)
    # Paying for an answer that the cache cannot take would be paying twice
    row.skipped = {**planned.skipped, **({"cache_down": len(unknown)} if unknown else {})}
    row.save()
    return planned


def _candidates(asked: Request, now: float) -> tuple[list[Candidate], int]:
    """With the slot that their rates begin with."""
    if asked.rucs:
        return [Candidate(ruc) for ruc in asked.rucs], 0
    life, size = float(settings.CACHE_TTL_RUC), SHORTLIST * asked.limit
    found = warm_statistics.shortlist(MIGO, RUC, now, settings.WARM_PERIOD, life, size)
    return [Candidate(one.identifier, one.rates) for one in found.keys if is_valid(one.identifier)], found.first


def moment(now: float, first: int) -> Moment:
    return Moment(
        now=now,
        wall=warm_statistics.wall(now) - now,
        first=first,
        period=settings.WARM_PERIOD,
        lead=lead(),
        life=settings.CACHE_TTL_RUC,
    )


def _unknown(answer: Outcome, negative: Outcome) -> bool:
    """Without an answer in the cache it takes both nodes to tell that the RUC is to be asked for."""
    return answer is Outcome.OUTAGE or (answer is not Outcome.HIT and negative is Outcome.OUTAGE)


def _ends(reads: Mapping[str, CacheRead], prefix: str, rucs: Sequence[str]) -> dict[str, float]:
    hits = {ruc: reads[prefix + ruc] for ruc in rucs if reads[prefix + ruc].outcome is Outcome.HIT}
    return {ruc: read.expires_at or float("inf") for ruc, read in hits.items()}


def close_abandoned(now: datetime) -> None:
    """Runs whose process was killed, also where no other one follows."""
    leases.close_abandoned(_running(), lambda _row: LOCK, _interrupt, now)


def _running() -> QuerySet[WarmRun]:
    return WarmRun.objects.filter(state=WarmRun.State.RUNNING)


def _interrupt(row: WarmRun, at: datetime) -> None:
    _running().filter(pk=row.pk).update(state=WarmRun.State.FAILED, finished_at=at, error=INTERRUPTED)


def _end(row: WarmRun, state: WarmRun.State, error: str) -> None:
    row.state, row.error, row.finished_at = state, error, timezone.now()
    row.save()


def _summary(row: WarmRun, due: int) -> WarmSummary:
    return {
        "run": row.pk,
        "state": str(row.state),
        "dry_run": row.dry_run,
        "candidates": row.candidates,
        "due": due,
        "from_store": row.from_store,
        "paid": row.paid,
        "refreshed": row.refreshed,
        "failed": row.failed,
        "skipped": row.skipped,
        "break_even": None if row.break_even is None else round(row.break_even, 4),
        "error": row.error,
    }
