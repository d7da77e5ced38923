"""What of a warm run changes the cache and costs money: first what the store has, then what is paid for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import TypeAlias
from zlib import crc32

from django.conf import settings
from django.utils import timezone

from api_service.models import WarmRun
from api_service.services import answers, envelope, flights, refusals
from api_service.services.budget import (
    BudgetExhausted,
    Ledger,
    Purpose,
    caps_in_force,
    left_for_warming,
)
from api_service.services.cache_service import MIGO
from api_service.services.counted import Steps
from api_service.services.errors import UpstreamError, UpstreamNotAsked
from api_service.services.filling import keep, wire_name, wire_names
from api_service.services.flights import Flight, Landing
from api_service.services.inventory import batches
from api_service.services.providers import Answer, Found, provider
from api_service.services.subjects import RUC, Subject
from api_service.services.warm_calls import Calls, Lease, OutOfTime, Pace
from api_service.services.warm_plan import Due, jittered
from api_service.services.warm_results import Recorder, Warmed

# What forbade further calls; None where the service itself is the reason
Forbidden: TypeAlias = BaseException | None

# Of a task that has 280: planning, a last call and the store's last answers come on top
SECONDS = 200.0
# What the answer store gets at the end of a run to write what it was handed
FLUSH_SECONDS = 10.0
RELOADED_AT_ONCE = 1000
RECORDED_AT_ONCE = 1000


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
    requested_by: str = ""


def lead() -> float:
    """Seconds before its end from which an answer is due; never most of a short life, or it would always be due."""
    return min(float(settings.WARM_LEAD), settings.CACHE_TTL_RUC / 2)


def life_of(ruc: str) -> float:
    """Seconds that a loaded answer of that RUC lives: always the same, and another than that of most others."""
    return jittered(settings.CACHE_TTL_RUC, crc32(ruc.encode()) / 2**32)


class Refresh:
    """What of a run changes the cache and costs money."""

    def __init__(
        self, steps: Steps, asked: Request, row: WarmRun, renew: Callable[[], None], planned_at: float
    ) -> None:
        self._steps = steps
        self._cache = steps.service
        # What came into the cache since is newer than what the plan knew: it is neither paid for nor written over
        self._planned_at = planned_at
        self._asked = asked
        self._row = row
        self._lease = Lease(renew)
        self._stop_at = monotonic() + asked.seconds
        self._ledger = Ledger(MIGO, Purpose.WARM, asked.budget, wait_until=self._stop_at)
        self._chances: dict[str, float | None] = {}
        self._rechecked: set[str] = set()
        self._warmed: list[Warmed] = []
        self._recorder = Recorder(row, MIGO, RUC)
        self._answered = 0
        # An answer, whichever: the account is not refused
        self._proof: Sequence[Answer] = ()

    def all_of(self, due: Sequence[Due]) -> None:
        self._chances = {one.ruc: one.chance for one in due}
        self._rechecked = {one.ruc for one in due if one.recheck}
        try:
            self._all_of(due)
        finally:
            self._recorder.close()
            answers.flush(FLUSH_SECONDS)

    def _all_of(self, due: Sequence[Due]) -> None:
        # What was known not to exist is in no store
        stored = self._from_store([one.ruc for one in due if not one.recheck])
        affordable = self._at_most(self._asked.budget, [one.ruc for one in due if one.ruc not in stored], "over_budget")
        affordable = self._at_most(left_for_warming(MIGO, caps_in_force(), timezone.now()), affordable, "over_cap")
        if affordable:
            self._pay(affordable)

    def _at_most(self, number: int | None, rucs: Sequence[str], reason: str) -> Sequence[str]:
        kept = rucs[:number]
        self._skip(reason, len(rucs) - len(kept))
        return kept

    def _from_store(self, due: Sequence[str]) -> set[str]:
        """Reload what the store holds and would outlive the lead; those that it has, loaded or not."""
        now = time()
        # Not `fresh`: a store that cannot be read would have all of them paid
        known = answers.read(MIGO, RUC, due, float(settings.CACHE_TTL_RUC) - lead(), now)
        stored = {ruc: answer for ruc, answer in known.items() if answer.born_at + life_of(ruc) > now + lead()}
        for names in batches(stored, RELOADED_AT_ONCE):
            self._lease.keep()
            self._reload({name: stored[name] for name in names}, now)
        # What the store has is not paid for, even when the cache did not take it
        self._skip("cache_down", len(stored) - self._row.from_store)
        return set(stored)

    def _reload(self, stored: Mapping[str, answers.Stored], now: float) -> None:
        names = {ruc: wire_name(self._cache, Subject(MIGO, RUC, ruc)) for ruc in stored}
        ends = {ruc: answer.born_at + life_of(ruc) for ruc, answer in stored.items()}
        seconds = settings.FLIGHT_LOCK_SECONDS
        with self._steps.one():
            departure = flights.depart(self._cache, list(names.values()), seconds, self._planned_at, refresh=True)
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
        self._note({ruc: ends[ruc] for ruc in loaded}, now)
        self._record()

    def _pay(self, rucs: Sequence[str]) -> None:
        pace = Pace(len(rucs), self._asked.spread, self._stop_at, self._lease)
        with Flight(self._cache.cache, settings.FLIGHT_LOCK_SECONDS).under_way() as flight:
            calls = Calls(self._steps, flight, self._ledger, pace, self._planned_at, self._rechecked)
            try:
                failures, forbidden = self._fetched(rucs, flight, calls)
            finally:
                self._skip("cache_down", calls.unreachable)
                self._skip("in_flight", calls.in_flight)
                self._row.failed = calls.asked - self._answered
                self._record()
        self._end(failures, forbidden, len(rucs) - calls.settled)

    def _fetched(self, rucs: Sequence[str], flight: Flight, calls: Calls) -> tuple[Sequence[UpstreamError], Forbidden]:
        """What calls failed with, and what forbade the rest. In one go: between two no call would be under way."""
        kept = partial(self._keep, flight)
        try:
            failed = provider(MIGO).fetch_many(RUC, rucs, spend=calls.spend, answered=kept, claims=calls)
        except (BudgetExhausted, OutOfTime) as error:
            return [], error
        errors = [error for error in failed.values() if isinstance(error, UpstreamError)]
        refusals.note(self._cache, MIGO, [*errors, *self._proof])
        failures = [error for error in errors if not isinstance(error, UpstreamNotAsked)]
        return failures, next((error.__cause__ for error in errors if isinstance(error, UpstreamNotAsked)), None)

    def _keep(self, flight: Flight, answered: Mapping[str, Answer]) -> None:
        now, lives = time(), {ruc: life_of(ruc) for ruc in answered}
        flight.over_negatives = not self._rechecked.isdisjoint(answered)
        # Nobody is shown these now: the store takes them while the next are under way
        with self._steps.one():
            keep(self._cache, MIGO, RUC, answered, lives, flight=flight, wait=False)
            # As is done right after this; what Redis reads for it is of this step
            flight.leave(wire_names(self._cache, (Subject(MIGO, RUC, ruc) for ruc in answered)))
        found = {ruc: now + lives[ruc] for ruc, answer in answered.items() if isinstance(answer, Found)}
        self._row.refreshed += len(found)
        self._answered += len(answered)
        self._proof = list(answered.values())[:1] or self._proof
        self._note(found, now)
        if len(self._warmed) >= RECORDED_AT_ONCE:
            self._record()
        # Last: what was paid for is kept, whatever the lease says
        self._lease.keep()

    def _end(self, failures: Sequence[UpstreamError], forbidden: Forbidden, left: int) -> None:
        """Why so many were not asked for at all, and what the others failed with."""
        self._skip(_reason(forbidden), left)
        if failures:
            self._row.error = f"{failures[0].code}: {failures[0]}"[:300]
        elif isinstance(forbidden, BudgetExhausted):
            self._row.error = str(forbidden)
        if forbidden is not None and not isinstance(forbidden, BudgetExhausted | OutOfTime):
            raise forbidden

    def _note(self, ends: Mapping[str, float], at: float) -> None:
        self._warmed += [Warmed(ruc, self._chances.get(ruc), at, end) for ruc, end in ends.items()]

    def _record(self) -> None:
        """What is known by now: of a run that is killed the rows say nearly all."""
        self._row.paid = self._ledger.queries
        self._row.save()
        warmed, self._warmed = self._warmed, []
        if warmed:
            self._recorder.note(warmed)

    def _skip(self, reason: str, number: int) -> None:
        if number:
            self._row.skipped[reason] = self._row.skipped.get(reason, 0) + number
            self._row.save()


def _reason(forbidden: Forbidden) -> str:
    """Why the rest was not asked for: whose limit it was, or that the service fails."""
    if isinstance(forbidden, OutOfTime):
        return "out_of_time"
    if isinstance(forbidden, BudgetExhausted):
        return {"run": "over_budget", "rate": "out_of_time"}.get(forbidden.period, "over_cap")
    return "stopped"
