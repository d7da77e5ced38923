"""Warming: RUCs that will be asked for are loaded again before they expire. Store first (free), paid calls last.

A run killed at any point and started again pays for no RUC twice: each answer is kept before the next is asked
for, and what is fresh is not due. Only calls that were under way at the kill are the vendor's word against ours.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep, time
from typing import TypedDict

from django.conf import settings
from django.utils import timezone

from api_service.models import WarmRun
from api_service.services import answers, envelope, flights, refusals, tracking, warm_results, warm_statistics
from api_service.services.budget import BudgetExhausted, Ledger, Purpose, caps_in_force, left_for_warming
from api_service.services.cache_service import INVALID_KEY, MIGO, RUC_KEY, APICacheService
from api_service.services.errors import UpstreamError, UpstreamNotAsked
from api_service.services.filling import keep, wire_name
from api_service.services.flights import Flight, Landing
from api_service.services.inventory import batches
from api_service.services.leases import LeaseLost, lease
from api_service.services.outcomes import CacheRead, Outcome
from api_service.services.providers import Answer, Found, NotFound, provider
from api_service.services.redaction import redact
from api_service.services.ruc import is_valid
from api_service.services.subjects import RUC, Subject
from api_service.services.warm_plan import Cached, Candidate, Due, Moment, Plan, Rules, jittered, pauses, plan
from api_service.services.warm_results import Warmed

logger = logging.getLogger(__name__)

INTERRUPTED = "interrupted: its worker stopped before the end"
LOCK = "warm_frequent_rucs"
# A killed run blocks the next one for so long at most; longer than a call with all its attempts and waits
LEASE_SECONDS = 90.0
RENEWED_EVERY = 10.0
SECONDS = 240.0
# What the answer store gets at the end of a run to write what it was handed
FLUSH_SECONDS = 10.0
# Claimed together: whoever misses one of them meanwhile waits for all, and between waves a batch runs dry
WAVE = 4000
CHUNK = 100
RELOADED_AT_ONCE = 1000
# Statistics are looked at closer than the limit says: some of the best will be fresh
SHORTLIST = 4
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
    break_even: float | None
    error: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a run may do. `rucs` names the RUCs instead of letting the statistics choose.

    `spread`: seconds over which the paid calls are spread, so that neither they nor their ends come all at once.
    """

    limit: int
    budget: int
    rucs: tuple[str, ...] = ()
    dry_run: bool = False
    seconds: float = SECONDS
    spread: float = 0.0


def request(
    limit: int | None = None,
    budget: int | None = None,
    rucs: Sequence[str] | None = None,
    *,
    dry_run: bool = False,
    spread: float = 0.0,
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
        spread=spread,
    )


def run(asked: Request) -> WarmSummary | None:
    """One run, recorded; None while another one is under way, here or anywhere. Raises LeaseLost, as leases do."""
    with lease(LOCK, LEASE_SECONDS, 0.0) as held:
        return None if held is None else warm(asked, held.renew)


def warm(asked: Request, renew: Callable[[], None] = lambda: None) -> WarmSummary:
    """One run, recorded. For who holds its lock, which `renew` keeps: rows left running by a killed run are closed."""
    _close_interrupted()
    tracking.flush_now()
    warm_results.settle(timezone.now())
    row = WarmRun.objects.create(
        started_at=timezone.now(), dry_run=asked.dry_run, limit=asked.limit, budget=asked.budget
    )
    try:
        cache = APICacheService()
        planned = _plan(cache, asked, row)
        if not asked.dry_run:
            _Refresh(cache, asked, row, renew).all_of(planned.due)
    except LeaseLost:
        # The rows may be another process's by now
        raise
    except Exception as error:
        _end(row, WarmRun.State.FAILED, redact(f"{type(error).__name__}: {error}")[:300])
        raise
    _end(row, WarmRun.State.FAILED if row.failed else WarmRun.State.DONE, row.error)
    return _summary(row, len(planned.due))


def lead() -> float:
    """Seconds before its end from which an answer is due; never most of a short life, or it would always be due."""
    return min(float(settings.WARM_LEAD), settings.CACHE_TTL_RUC / 2)


def _plan(cache: APICacheService, asked: Request, row: WarmRun) -> Plan:
    now, experience = time(), warm_results.experience(timezone.now())
    candidates, first = _candidates(asked, now)
    names = [candidate.ruc for candidate in candidates]
    reads = cache.read_many([RUC_KEY + ruc for ruc in names] + [INVALID_KEY + ruc for ruc in names])
    unknown = {ruc for ruc in names if _unknown(reads[RUC_KEY + ruc].outcome, reads[INVALID_KEY + ruc].outcome)}
    row.break_even = None if asked.rucs else settings.WARM_BREAK_EVEN / warm_results.calibration(experience)
    planned = plan(
        [candidate for candidate in candidates if candidate.ruc not in unknown],
        Cached(_ends(reads, RUC_KEY, names), _ends(reads, INVALID_KEY, names)),
        _moment(now, first),
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


def _moment(now: float, first: int) -> Moment:
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


class _Refresh:
    """What of a run changes the cache and costs money."""

    def __init__(self, cache: APICacheService, asked: Request, row: WarmRun, renew: Callable[[], None]) -> None:
        self._cache = cache
        self._asked = asked
        self._row = row
        self._renew = renew
        self._stop_at = monotonic() + asked.seconds
        self._ledger = Ledger(MIGO, Purpose.WARM, asked.budget, wait_until=self._stop_at)
        self._chances: dict[str, float | None] = {}
        self._rechecked: set[str] = set()
        self._warmed: list[Warmed] = []
        self._renewed_at = monotonic()

    def all_of(self, due: Sequence[Due]) -> None:
        self._chances = {one.ruc: one.chance for one in due}
        self._rechecked = {one.ruc for one in due if one.recheck}
        try:
            self._all_of(due)
        finally:
            answers.flush(FLUSH_SECONDS)

    def _all_of(self, due: Sequence[Due]) -> None:
        # What was known not to exist is in no store
        stored = self._from_store([one.ruc for one in due if not one.recheck])
        affordable = self._at_most(self._asked.budget, [one.ruc for one in due if one.ruc not in stored], "over_budget")
        affordable = self._at_most(left_for_warming(MIGO, caps_in_force(), timezone.now()), affordable, "over_cap")
        done = 0
        for wave in self._waves(affordable):
            if monotonic() > self._stop_at:
                self._skip("out_of_time", len(affordable) - done)
                return
            if not self._pay(wave):
                self._skip("stopped", len(affordable) - done - len(wave))
                return
            done += len(wave)

    def _waves(self, rucs: Sequence[str]) -> Iterator[Sequence[str]]:
        """All at once in large waves, or a call at a time with pauses between."""
        if not self._asked.spread:
            # A wave holds its claims while it waits for the rate: no longer than a fraction of a minute
            rate = settings.MIGO_MAX_PER_MINUTE
            yield from batches(rucs, max(CHUNK, min(WAVE, rate // 6)) if rate else WAVE)
            return
        waves = list(batches(rucs, CHUNK))
        began, pause = monotonic(), pauses(len(waves), self._asked.spread)
        for number, wave in enumerate(waves):
            self._wait_until(began + number * pause)
            yield wave

    def _wait_until(self, moment: float) -> None:
        while (left := moment - monotonic()) > 0:
            self._keep_lease()
            sleep(min(left, RENEWED_EVERY))

    def _keep_lease(self) -> None:
        if monotonic() - self._renewed_at >= RENEWED_EVERY:
            self._renew()
            self._renewed_at = monotonic()

    def _at_most(self, number: int | None, rucs: Sequence[str], reason: str) -> Sequence[str]:
        kept = rucs[:number]
        self._skip(reason, len(rucs) - len(kept))
        return kept

    def _from_store(self, due: Sequence[str]) -> set[str]:
        """Reload what the store holds and would outlive the lead; those that it has, loaded or not."""
        life, now = float(settings.CACHE_TTL_RUC), time()
        # Not `fresh`: a store that cannot be read would have all of them paid
        stored = answers.read(MIGO, RUC, due, life - lead(), now)
        for names in batches(stored, RELOADED_AT_ONCE):
            self._keep_lease()
            self._reload({name: stored[name] for name in names}, life, now)
        # What the store has is not paid for, even when the cache did not take it
        self._skip("cache_down", len(stored) - self._row.from_store)
        return set(stored)

    def _reload(self, stored: Mapping[str, answers.Stored], life: float, now: float) -> None:
        names = {ruc: wire_name(self._cache, Subject(MIGO, RUC, ruc)) for ruc in stored}
        ends = {ruc: answer.born_at + life for ruc, answer in stored.items()}
        departure = flights.depart(self._cache, list(names.values()), settings.FLIGHT_LOCK_SECONDS, now, refresh=True)
        with departure.flight.under_way() as flight:
            landed = flight.land(
                {
                    names[ruc]: Landing(
                        envelope.wrap(answer.data, now, ends[ruc] - now, answer.born_at),
                        ends[ruc] - now + settings.STALE_WHILE_REVALIDATE,
                    )
                    for ruc, answer in stored.items()
                }
            )
        loaded = [ruc for ruc in stored if names[ruc] in landed]
        self._row.from_store += len(loaded)
        self._row.save()
        self._note({ruc: ends[ruc] for ruc in loaded}, now)
        self._record()

    def _pay(self, rucs: Sequence[str]) -> bool:
        """Ask for one wave and keep it; False when the run should stop."""
        self._keep_lease()
        names = {wire_name(self._cache, Subject(MIGO, RUC, ruc)): ruc for ruc in rucs}
        departure = flights.depart(self._cache, list(names), settings.FLIGHT_LOCK_SECONDS, time(), refresh=True)
        # Somebody is asking for it at this moment
        self._skip("in_flight", len(departure.taken))
        self._skip("cache_down", len(departure.unreachable))
        mine = [names[name] for name in names if name in departure.mine]
        if not mine:
            return True
        try:
            with departure.flight.under_way() as flight:
                flight.over_negatives = not self._rechecked.isdisjoint(mine)
                return self._asked_for(mine, flight)
        finally:
            self._record()

    def _asked_for(self, rucs: Sequence[str], flight: Flight) -> bool:
        row, ledger = self._row, self._ledger
        try:
            fetched = provider(MIGO).fetch_many(RUC, rucs, spend=ledger, answered=partial(self._keep, flight))
        except BudgetExhausted as error:
            row.paid, row.error = ledger.queries, str(error)
            if error.period == "run":
                # The waves fit into the budget: attempts that failed have used it up
                row.failed += len(rucs)
                row.save()
            else:
                self._skip("over_cap", len(rucs))
            return False
        refusals.note(self._cache, MIGO, fetched.values())
        return self._count(fetched)

    def _keep(self, flight: Flight, answered: Mapping[str, Answer]) -> None:
        self._keep_lease()
        now = time()
        lives = {ruc: jittered(settings.CACHE_TTL_RUC, random.random()) for ruc in answered}  # noqa: S311 - spreads expiry
        # Nobody is shown these now: the store takes them while the next are under way
        keep(self._cache, MIGO, RUC, answered, lives, flight=flight, wait=False)
        self._note({ruc: now + lives[ruc] for ruc, answer in answered.items() if isinstance(answer, Found)}, now)

    def _count(self, fetched: Mapping[str, Answer | UpstreamError]) -> bool:
        row = self._row
        answered = [answer for answer in fetched.values() if not isinstance(answer, UpstreamError)]
        errors = [e for e in fetched.values() if isinstance(e, UpstreamError) and not isinstance(e, UpstreamNotAsked)]
        row.paid = self._ledger.queries
        row.refreshed += sum(not isinstance(answer, NotFound) for answer in answered)
        row.failed += len(errors)
        if errors:
            row.error = f"{errors[0].code}: {errors[0]}"[:300]
        self._skip("over_cap", len(fetched) - len(answered) - len(errors))
        row.save()
        # Who has not answered one of a wave is down: the next would cost as much and bring as little
        return bool(answered) and not any(error.permanent for error in errors)

    def _note(self, ends: Mapping[str, float], at: float) -> None:
        self._warmed += [Warmed(ruc, self._chances.get(ruc), at, end) for ruc, end in ends.items()]

    def _record(self) -> None:
        warmed, self._warmed = self._warmed, []
        warm_results.record(self._row, MIGO, RUC, warmed)

    def _skip(self, reason: str, number: int) -> None:
        if number:
            self._row.skipped[reason] = self._row.skipped.get(reason, 0) + number
            self._row.save()


def _close_interrupted() -> None:
    left = WarmRun.objects.filter(state=WarmRun.State.RUNNING)
    left.update(state=WarmRun.State.FAILED, finished_at=timezone.now(), error=INTERRUPTED)


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
