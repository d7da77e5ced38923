"""What of a warm run changes the cache and costs money: first what the store has, then what is paid for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep, time
from zlib import crc32

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from api_service.models import WarmRun
from api_service.services import answers, envelope, flights, refusals, warm_results
from api_service.services.budget import (
    BudgetExhausted,
    Ledger,
    Purpose,
    caps_in_force,
    left_for_warming,
    seconds_until_places,
)
from api_service.services.cache_service import MIGO, APICacheService
from api_service.services.errors import UpstreamError, UpstreamNotAsked
from api_service.services.filling import keep, known_absent, wire_name
from api_service.services.flights import Departure, Flight, Landing
from api_service.services.inventory import batches
from api_service.services.providers import Answer, Found, NotFound, provider
from api_service.services.subjects import RUC, Subject
from api_service.services.warm_plan import Due, jittered, pauses
from api_service.services.warm_results import Warmed

logger = logging.getLogger(__name__)

# Of a task that has 280: planning, a last call and the store's last answers come on top
SECONDS = 200.0
RENEWED_EVERY = 10.0
# What the answer store gets at the end of a run to write what it was handed
FLUSH_SECONDS = 10.0
# Claimed together: whoever misses one of them meanwhile waits for all, and between waves a batch runs dry
WAVE = 4000
CHUNK = 100
RELOADED_AT_ONCE = 1000


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


def lead() -> float:
    """Seconds before its end from which an answer is due; never most of a short life, or it would always be due."""
    return min(float(settings.WARM_LEAD), settings.CACHE_TTL_RUC / 2)


def life_of(ruc: str) -> float:
    """Seconds that a loaded answer of that RUC lives: always the same, and another than that of most others."""
    return jittered(settings.CACHE_TTL_RUC, crc32(ruc.encode()) / 2**32)


class Refresh:
    """What of a run changes the cache and costs money."""

    def __init__(
        self, cache: APICacheService, asked: Request, row: WarmRun, renew: Callable[[], None], planned_at: float
    ) -> None:
        self._cache = cache
        # What came into the cache since is newer than what the plan knew: it is neither paid for nor written over
        self._planned_at = planned_at
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
        left = len(affordable)
        for wave in self._waves(affordable):
            left -= len(wave)
            if not self._pay(wave):
                self._skip("stopped", left)
                return
        self._skip("out_of_time", left)

    def _waves(self, rucs: Sequence[str]) -> Iterator[Sequence[str]]:
        """All at once in large waves, or a call at a time with pauses between; no more once time is up."""
        size = CHUNK if self._asked.spread else WAVE
        if rate := settings.MIGO_MAX_PER_MINUTE:
            # A wave's claims hold up whoever misses its keys: it is no more than has its places at once
            share = max(1, int(rate * settings.WARM_SHARE))
            size = min(size, share, max(CHUNK, share // 6))
        waves = list(batches(rucs, size))
        began, pause = monotonic(), pauses(len(waves), self._asked.spread)
        for number, wave in enumerate(waves):
            self._wait_until(began + number * pause)
            if not self._has_places(len(wave)) or monotonic() > self._stop_at:
                return
            yield wave

    def _has_places(self, queries: int) -> bool:
        """Waits for them before anything is claimed. Others may be faster all the same: then the call waits."""
        while wait := seconds_until_places(MIGO, Purpose.WARM, queries):
            if monotonic() + wait > self._stop_at:
                return False
            self._wait_until(monotonic() + wait)
        return True

    def _wait_until(self, moment: float) -> None:
        while (left := moment - monotonic()) > 0:
            self._keep_lease()
            sleep(min(left, RENEWED_EVERY))

    def _keep_lease(self) -> None:
        """A database that hiccups is asked again later: a lease that is lost says so then."""
        if monotonic() - self._renewed_at < RENEWED_EVERY:
            return
        self._renewed_at = monotonic()
        try:
            self._renew()
        except (DatabaseError, InterfaceError):
            logger.warning("the lease of the warm run could not be renewed; it is tried again", exc_info=True)

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
            self._keep_lease()
            self._reload({name: stored[name] for name in names}, now)
        # What the store has is not paid for, even when the cache did not take it
        self._skip("cache_down", len(stored) - self._row.from_store)
        return set(stored)

    def _reload(self, stored: Mapping[str, answers.Stored], now: float) -> None:
        names = {ruc: wire_name(self._cache, Subject(MIGO, RUC, ruc)) for ruc in stored}
        ends = {ruc: answer.born_at + life_of(ruc) for ruc, answer in stored.items()}
        departure = self._departed(list(names.values()))
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
        departure = self._departed(list(names))
        self._skip("cache_down", len(departure.unreachable))
        claimed = [names[name] for name in names if name in departure.mine]
        with departure.flight.under_way() as flight:
            mine = self._still_unknown(claimed)
            # Somebody is asking for it at this moment, or has since the plan
            self._skip("in_flight", len(rucs) - len(departure.unreachable) - len(mine))
            flight.over_negatives = not self._rechecked.isdisjoint(mine)
            return self._asked_for(mine, flight) if mine else True

    def _departed(self, names: Sequence[str]) -> Departure:
        return flights.depart(self._cache, names, settings.FLIGHT_LOCK_SECONDS, self._planned_at, refresh=True)

    def _still_unknown(self, rucs: Sequence[str]) -> list[str]:
        """A negative answer that came since leaves nothing under the key that was claimed."""
        subjects = {ruc: Subject(MIGO, RUC, ruc) for ruc in rucs if ruc not in self._rechecked}
        absent = known_absent(self._cache, list(subjects.values()))
        return [ruc for ruc in rucs if subjects.get(ruc) not in absent]

    def _asked_for(self, rucs: Sequence[str], flight: Flight) -> bool:
        try:
            return self._fetched(rucs, flight)
        finally:
            self._row.paid = self._ledger.queries
            self._row.save()
            self._record()

    def _fetched(self, rucs: Sequence[str], flight: Flight) -> bool:
        row, ledger = self._row, self._ledger
        try:
            fetched = provider(MIGO).fetch_many(RUC, rucs, spend=ledger, answered=partial(self._keep, flight))
        except BudgetExhausted as error:
            row.error = str(error)
            if error.period == "run":
                # The waves fit into the budget: attempts that failed have used it up
                row.failed += len(rucs)
            else:
                self._skip("over_cap", len(rucs))
            return False
        refusals.note(self._cache, MIGO, fetched.values())
        return self._count(fetched)

    def _keep(self, flight: Flight, answered: Mapping[str, Answer]) -> None:
        now, lives = time(), {ruc: life_of(ruc) for ruc in answered}
        # Nobody is shown these now: the store takes them while the next are under way
        keep(self._cache, MIGO, RUC, answered, lives, flight=flight, wait=False)
        self._note({ruc: now + lives[ruc] for ruc, answer in answered.items() if isinstance(answer, Found)}, now)
        # Last: what was paid for is kept, whatever the lease says
        self._keep_lease()

    def _count(self, fetched: Mapping[str, Answer | UpstreamError]) -> bool:
        row = self._row
        answered = [answer for answer in fetched.values() if not isinstance(answer, UpstreamError)]
        errors = [e for e in fetched.values() if isinstance(e, UpstreamError) and not isinstance(e, UpstreamNotAsked)]
        row.refreshed += sum(not isinstance(answer, NotFound) for answer in answered)
        row.failed += len(errors)
        if errors:
            row.error = f"{errors[0].code}: {errors[0]}"[:300]
        self._skip("over_cap", len(fetched) - len(answered) - len(errors))
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
