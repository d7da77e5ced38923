"""The calls of a warm run, one by one: when each may be made, and what of it is still to be asked for by then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from time import monotonic

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from api_service.services import flights
from api_service.services.budget import Ledger, Purpose, seconds_until_places
from api_service.services.cache_service import MIGO
from api_service.services.counted import Steps
from api_service.services.filling import known_absent, wire_names
from api_service.services.flights import Flight
from api_service.services.providers import SpendLater
from api_service.services.subjects import RUC, Subject
from api_service.services.warm_plan import pauses

logger = logging.getLogger(__name__)

RENEWED_EVERY = 10.0


class OutOfTime(Exception):
    """The run's time is over, or would be before the call's turn comes."""


class Lease:
    """The run's lock, renewed by whoever has a moment."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew = renew
        self._renewed_at = monotonic()

    def keep(self) -> None:
        """A database that hiccups is asked again later: a lease that is lost says so then."""
        if monotonic() - self._renewed_at < RENEWED_EVERY:
            return
        self._renewed_at = monotonic()
        try:
            self._renew()
        except (DatabaseError, InterfaceError):
            logger.warning("the lease of the warm run could not be renewed; it is tried again", exc_info=True)


class Pace:
    """When the calls may be made: spread over the run, in the places of the minute, before its end."""

    def __init__(self, rucs: int, spread: float, stop_at: float, lease: Lease) -> None:
        """`spread` are the seconds that so many RUCs are spread over; `stop_at` is monotonic."""
        self._began = monotonic()
        self._pause = pauses(rucs, spread)
        self._stop_at = stop_at
        self._lease = lease

    def wait_for_turn(self, before: int, queries: int) -> None:
        """SpendLater until the turn of who has so many before it; OutOfTime where it comes too late."""
        self._lease.keep()
        now = monotonic()
        turn = self._began + before * self._pause - now
        seconds = max(0.0, turn, seconds_until_places(MIGO, Purpose.WARM, queries))
        if now + seconds > self._stop_at:
            raise OutOfTime
        if seconds:
            # In steps in which the lease can be kept
            raise SpendLater(min(seconds, RENEWED_EVERY))


class Calls:
    """What a run asks for: claimed call by call (`providers.Claims`), entered in the ledger (`providers.Spend`).

    Who misses a key meanwhile waits for one call, never for its turn or for the whole run.
    """

    def __init__(
        self,
        steps: Steps,
        flight: Flight,
        ledger: Ledger,
        pace: Pace,
        planned_at: float,
        rechecked: Collection[str],
    ) -> None:
        """What came into the cache since `planned_at` is newer than what the plan knew: nobody pays for that."""
        self.asked = 0
        self.in_flight = 0
        self.unreachable = 0
        self._steps = steps
        self._cache = steps.service
        self._flight = flight
        self._ledger = ledger
        self._pace = pace
        self._planned_at = planned_at
        self._rechecked = rechecked
        # Of the call that is about to be made: kept back on its way, and for what reason
        self._held_back = (0, 0)

    @property
    def settled(self) -> int:
        """RUCs that were asked for, or need not be."""
        return self.asked + self.in_flight + self.unreachable

    def take(self, rucs: Sequence[str], /) -> Sequence[str]:
        self._pace.wait_for_turn(self.settled, len(rucs))
        with self._steps.one():
            return self._taken(rucs)

    def _taken(self, rucs: Sequence[str]) -> Sequence[str]:
        names = dict(zip(self._names(rucs), rucs, strict=True))
        seconds, flight = settings.FLIGHT_LOCK_SECONDS, self._flight
        departure = flights.depart(self._cache, list(names), seconds, self._planned_at, refresh=True, flight=flight)
        mine = self._still_unknown([ruc for name, ruc in names.items() if name in departure.mine])
        unreachable = len(departure.unreachable)
        # Somebody is asking for the others at this moment, or has since the plan
        self._held_back = (len(rucs) - unreachable - len(mine), unreachable)
        if not mine:
            self._count(0)
        return mine

    def give_up(self, rucs: Sequence[str], /) -> None:
        self._flight.leave(self._names(rucs))

    def spend(self, queries: int, *, retry: bool) -> None:
        self._ledger(queries, retry=retry)
        if not retry:
            self._count(queries)

    def _count(self, asked: int) -> None:
        """Only now: a call that was put off takes its RUCs anew."""
        self.asked += asked
        self.in_flight += self._held_back[0]
        self.unreachable += self._held_back[1]
        self._held_back = (0, 0)

    def _names(self, rucs: Sequence[str]) -> Sequence[str]:
        return wire_names(self._cache, (Subject(MIGO, RUC, ruc) for ruc in rucs))

    def _still_unknown(self, rucs: Sequence[str]) -> list[str]:
        """A negative answer that came since leaves nothing under the key that was claimed."""
        subjects = {ruc: Subject(MIGO, RUC, ruc) for ruc in rucs if ruc not in self._rechecked}
        absent = known_absent(self._cache, list(subjects.values()))
        self.give_up([subject.identifier for subject in absent])
        return [ruc for ruc in rucs if subjects.get(ruc) not in absent]
