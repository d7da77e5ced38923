"""Warming: frequent RUCs are loaded again before they expire. Store first (free), paid calls last, within a budget.

A run killed at any point and started again pays for no RUC twice: each answer is kept before the next is asked
for, and what is fresh is not due.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, time
from typing import TypedDict

from django.conf import settings
from django.db.models import Max, Sum
from django.utils import timezone

from api_service.models import DailyReads, WarmRun
from api_service.services import answers, refusals, tracking
from api_service.services.budget import BudgetExhausted, Ledger, Purpose, caps_in_force, left_for_warming
from api_service.services.cache_service import INVALID_KEY, MIGO, RUC_KEY, APICacheService
from api_service.services.errors import UpstreamError, UpstreamNotAsked
from api_service.services.filling import keep
from api_service.services.outcomes import Outcome
from api_service.services.providers import Answer, NotFound, provider
from api_service.services.redaction import redact
from api_service.services.ruc import is_valid
from api_service.services.subjects import RUC
from api_service.services.warm_plan import Candidate, Plan, jittered, plan

logger = logging.getLogger(__name__)

INTERRUPTED = "interrupted: its worker stopped before the end"
CHUNK = 100
# Two periods of the schedule: a run that fails still leaves one before the answers end
LEAD_SECONDS = 600.0
SECONDS = 240.0
# A named RUC comes before all that statistics propose
NAMED_READS = 1_000_000_000
# More is a slip of the finger, and would not fit into the run's row
LARGEST_NUMBER = 1_000_000


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
    error: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a run may do. `rucs` names the RUCs instead of letting the statistics choose."""

    limit: int
    budget: int
    rucs: tuple[str, ...] = ()
    dry_run: bool = False
    seconds: float = SECONDS


def request(
    limit: int | None = None, budget: int | None = None, rucs: Sequence[str] | None = None, *, dry_run: bool = False
) -> Request:
    """A checked request with the settings' defaults. ValueError names the argument that cannot be."""
    if rucs is not None and not rucs:
        raise ValueError("rucs: an empty list; leave it out to let the statistics choose")
    rucs = rucs or ()
    wrong = [ruc for ruc in rucs if not is_valid(ruc)]
    if wrong:
        shown = ", ".join(repr(ruc[:20]) for ruc in wrong[:5])
        raise ValueError(f"rucs: {shown}: not a valid RUC (11 digits with check digit)")
    for name, value in (("limit", limit), ("budget", budget)):
        if value is not None and value < 0:
            raise ValueError(f"{name}: {value} is negative")
        if value is not None and value > LARGEST_NUMBER:
            raise ValueError(f"{name}: at most {LARGEST_NUMBER}")
    return Request(
        settings.WARM_LIMIT if limit is None else limit,
        settings.WARM_BUDGET if budget is None else budget,
        tuple(dict.fromkeys(rucs)),
        dry_run,
    )


def warm(asked: Request) -> WarmSummary:
    """One run, recorded. Call it under the task's run lock: rows left running by a killed run are closed here."""
    _close_interrupted()
    tracking.flush_now()
    run = WarmRun.objects.create(
        started_at=timezone.now(), dry_run=asked.dry_run, limit=asked.limit, budget=asked.budget
    )
    try:
        cache = APICacheService()
        planned = _plan(cache, asked, run)
        if not asked.dry_run:
            _refresh(cache, asked, run, planned.due)
    except Exception as error:
        _end(run, WarmRun.State.FAILED, redact(f"{type(error).__name__}: {error}")[:300])
        raise
    _end(run, WarmRun.State.FAILED if run.failed else WarmRun.State.DONE, run.error)
    return _summary(run, len(planned.due))


def lead() -> float:
    """Seconds before its end from which an answer is due; never most of a short life, or it would always be due."""
    return min(LEAD_SECONDS, settings.CACHE_TTL_RUC / 2)


def frequent(limit: int) -> list[Candidate]:
    """The RUCs asked for most within the window: at least `WARM_MIN_READS` times, and not long ago.

    Nobody asked during the last two lives: the answer may end, and the night costs nothing.
    """
    recently = timezone.now() - timedelta(seconds=2 * settings.CACHE_TTL_RUC)
    first = timezone.localdate() - timedelta(days=settings.WARM_WINDOW_DAYS - 1)
    rows = DailyReads.objects.filter(service=MIGO, kind=RUC, day__gte=first).values("identifier")
    counted = rows.annotate(total=Sum("reads"), last=Max("last_read_at")).filter(
        total__gte=settings.WARM_MIN_READS, last__gte=recently
    )
    top = counted.order_by("-total", "identifier").values_list("identifier", "total")[:limit]
    return [Candidate(ruc, reads) for ruc, reads in top if is_valid(ruc)]


def _plan(cache: APICacheService, asked: Request, run: WarmRun) -> Plan:
    candidates = [Candidate(ruc, NAMED_READS) for ruc in asked.rucs] or frequent(asked.limit)
    names = [candidate.ruc for candidate in candidates]
    reads = cache.read_many([RUC_KEY + ruc for ruc in names] + [INVALID_KEY + ruc for ruc in names])
    unknown = {ruc for ruc in names if _unknown(reads[RUC_KEY + ruc].outcome, reads[INVALID_KEY + ruc].outcome)}
    planned = plan(
        [candidate for candidate in candidates if candidate.ruc not in unknown],
        {ruc: reads[RUC_KEY + ruc].expires_at or float("inf") for ruc in names if _hit(reads, RUC_KEY + ruc)},
        frozenset(ruc for ruc in names if _hit(reads, INVALID_KEY + ruc)),
        now=time(),
        lead=lead(),
        limit=asked.limit,
    )
    run.candidates = len(candidates)
    # Paying for an answer that the cache cannot take would be paying twice
    run.skipped = {**planned.skipped, **({"cache_down": len(unknown)} if unknown else {})}
    run.save()
    return planned


def _unknown(answer: Outcome, negative: Outcome) -> bool:
    """Without an answer in the cache it takes both nodes to tell that the RUC is to be asked for."""
    return answer is Outcome.OUTAGE or (answer is not Outcome.HIT and negative is Outcome.OUTAGE)


def _hit(reads: Mapping[str, object], key: str) -> bool:
    return getattr(reads[key], "outcome", None) is Outcome.HIT


def _refresh(cache: APICacheService, asked: Request, run: WarmRun, due: Sequence[str]) -> None:
    affordable = _at_most(asked.budget, _from_store(cache, run, due), run, "over_budget")
    affordable = _at_most(left_for_warming(MIGO, caps_in_force(), timezone.now()), affordable, run, "over_cap")
    stop_at = monotonic() + asked.seconds
    ledger = Ledger(MIGO, Purpose.WARM, asked.budget)
    for start in range(0, len(affordable), CHUNK):
        chunk = affordable[start : start + CHUNK]
        if monotonic() > stop_at:
            _skip(run, "out_of_time", len(affordable) - start)
            return
        if not _pay(cache, run, ledger, chunk):
            _skip(run, "stopped", len(affordable) - start - len(chunk))
            return


def _at_most(number: int | None, rucs: Sequence[str], run: WarmRun, reason: str) -> Sequence[str]:
    kept = rucs[:number]
    _skip(run, reason, len(rucs) - len(kept))
    return kept


def _from_store(cache: APICacheService, run: WarmRun, due: Sequence[str]) -> list[str]:
    """Reload what the store holds and would outlive the lead; the others are left to be paid."""
    life, now = float(settings.CACHE_TTL_RUC), time()
    # Not `fresh`: a store that cannot be read would have all of them paid
    stored = answers.read(MIGO, RUC, due, life - lead(), now)
    loaded = {
        ruc
        for ruc, answer in stored.items()
        if cache.set_ruc(ruc, answer.data, life - (now - answer.born_at), born_at=answer.born_at)
    }
    run.from_store = len(loaded)
    run.save()
    # What the store has is not paid for, even when the cache did not take it
    _skip(run, "cache_down", len(stored) - len(loaded))
    return [ruc for ruc in due if ruc not in stored]


def _pay(cache: APICacheService, run: WarmRun, ledger: Ledger, chunk: Sequence[str]) -> bool:
    """Ask for one chunk and keep it; False when the run should stop."""

    def keep_jittered(answers_now: Mapping[str, Answer]) -> None:
        lives = {ruc: jittered(settings.CACHE_TTL_RUC, random.random()) for ruc in answers_now}  # noqa: S311 - spreads expiry
        keep(cache, MIGO, RUC, answers_now, lives)

    try:
        fetched = provider(MIGO).fetch_many(RUC, chunk, spend=ledger, answered=keep_jittered)
    except BudgetExhausted as error:
        run.paid, run.error = ledger.queries, str(error)
        if error.period == "run":
            # The chunks fit into the budget: attempts that failed have used it up
            run.failed += len(chunk)
            run.save()
        else:
            _skip(run, "over_cap", len(chunk))
        return False
    answered: dict[str, Answer] = {ruc: a for ruc, a in fetched.items() if not isinstance(a, UpstreamError)}
    errors = [a for a in fetched.values() if isinstance(a, UpstreamError) and not isinstance(a, UpstreamNotAsked)]
    refusals.note(cache, MIGO, fetched.values())
    run.paid = ledger.queries
    run.refreshed += sum(not isinstance(answer, NotFound) for answer in answered.values())
    run.failed += len(errors)
    if errors:
        run.error = f"{errors[0].code}: {errors[0]}"[:300]
    _skip(run, "over_cap", len(fetched) - len(answered) - len(errors))
    run.save()
    # Who has not answered one of a hundred is down: the next hundred would cost as much and bring as little
    return bool(answered) and not any(error.permanent for error in errors)


def _skip(run: WarmRun, reason: str, number: int) -> None:
    if number:
        run.skipped[reason] = run.skipped.get(reason, 0) + number
        run.save()


def _close_interrupted() -> None:
    left = WarmRun.objects.filter(state=WarmRun.State.RUNNING)
    left.update(state=WarmRun.State.FAILED, finished_at=timezone.now(), error=INTERRUPTED)


def _end(run: WarmRun, state: WarmRun.State, error: str) -> None:
    run.state, run.error, run.finished_at = state, error, timezone.now()
    run.save()


def _summary(run: WarmRun, due: int) -> WarmSummary:
    return {
        "run": run.pk,
        "state": str(run.state),
        "dry_run": run.dry_run,
        "candidates": run.candidates,
        "due": due,
        "from_store": run.from_store,
        "paid": run.paid,
        "refreshed": run.refreshed,
        "failed": run.failed,
        "skipped": run.skipped,
        "error": run.error,
    }
