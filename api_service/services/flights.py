"""Flights: of all threads, processes and hosts that miss a key, one fetches its answer; the others wait for that.

Who is first puts a claim under the key itself, where nothing is. What it brings replaces exactly that claim: whoever
cleared the key, stored something newer or flushed the node meanwhile has taken the claim away, and a result that comes
late is written over nothing. A claim is short and renewed; of a process that is killed it ends by itself.

To fetch anew what is there already, the flight claims a lock beside the key and replaces the very value that it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread
from time import time
from typing import Any
from uuid import uuid4

from api_service.caches.protocol import Replacement, StrictCache, Version
from api_service.services import envelope, keys
from api_service.services.backends.base import LOCK_PREFIX
from api_service.services.cache_service import APICacheService
from api_service.services.outcomes import Outcome

# For those who wait already; who comes later asks anew
FAILURE_SECONDS = 2.0
RENEWALS_IN_A_LIFE = 3


@dataclass(frozen=True, slots=True)
class Landing:
    """What to write under a key, for how many seconds; 0 leaves nothing there."""

    value: Any
    timeout: float


LEAVE = Landing(None, 0)


class Flight:
    """The keys that its owner alone fills. They are wire names without the cache's prefix."""

    def __init__(self, cache: StrictCache, seconds: float) -> None:
        """`seconds` is how long a claim lasts that is not renewed."""
        self.departed_at = time()
        # Whether a negative answer may lie beside a key of it; its owner knows better once he has looked
        self.over_negatives = True
        self._cache = cache
        # Our claims under keys and locks, and the values to replace, by their versions
        self._claims: dict[str, Version] = {}
        self._found: dict[str, Version] = {}
        # Of the values to replace: the key of the lock beside each
        self._locks: dict[str, str] = {}
        self.token = uuid4().hex
        self._seconds = seconds
        # Between the owner and the renewing thread: each changes the versions that the other goes by
        self._lock = Lock()

    @contextmanager
    def under_way(self) -> Iterator[Flight]:
        """Renewed until the end; then all claims that nothing was written over are given up."""
        over = Event()
        try:
            Thread(target=self._renew_until, args=(over,), name="flight", daemon=True).start()
            yield self
        finally:
            over.set()
            self.land(dict.fromkeys([*self._claims], LEAVE))

    def board(self, claims: Mapping[str, Version], found: Mapping[str, Version], locks: Mapping[str, str]) -> None:
        """More keys to fill, claimed by its own token, renewed with the others. `locks`: key -> the lock beside it."""
        with self._lock:
            self._claims |= claims
            self._found |= found
            self._locks |= locks

    def leave(self, names: Iterable[str]) -> None:
        """Give up what is left of these, with their locks: who wants one need not wait for the end of the flight."""
        with self._lock:
            for name in (names := list(names)):
                self._found.pop(name, None)
            claims = [key for name in names for key in (name, self._locks.pop(name, name)) if key in self._claims]
        self.land(dict.fromkeys(claims, LEAVE))

    def land(self, landings: Mapping[str, Landing]) -> set[str]:
        """Write each whose claim, or found value, is still there; the keys written."""
        with self._lock:
            versions = self._found | self._claims
            writes = {
                key: Replacement(landing.value, versions[key], landing.timeout)
                for key, landing in landings.items()
                if key in versions
            }
            for key in writes:
                self._claims.pop(key, None)
                self._found.pop(key, None)
            return set(self._cache.replace_many(writes)) if writes else set()

    def fail(self, names: Sequence[str], facts: Mapping[str, Any]) -> None:
        """Tell those who wait for these keys why nothing comes; beside a value that stays as it is, under its lock."""
        note = Landing(envelope.failure({**facts, "at": time()}), FAILURE_SECONDS)
        with self._lock:
            claimed = [key for name in names for key in (name, self._locks.get(name, name)) if key in self._claims]
        self.land(dict.fromkeys(claimed, note))

    def hold(self, names: Sequence[str]) -> set[str]:
        """Those that are still ours to fill. A value that was found there gives way to our claim."""
        with self._lock:
            wanted = set(names)
            versions = {name: version for name, version in (self._found | self._claims).items() if name in wanted}
            held = self._hold(versions)
            for name in held:
                self._found.pop(name, None)
            return held

    def renew(self) -> None:
        """A claim that is not renewed keeps its version: its node may only have been slow.

        It may have renewed it all the same, and only the reply was lost: then the claim there is ours.
        """
        with self._lock:
            unsure = set(self._claims) - self._hold(self._claims)
            if unsure:
                found, _lost = self._cache.fetch_versions(unsure)
                mine = envelope.claim(self.token)
                self._claims |= {key: version for key, (value, version) in found.items() if value == mine}

    def _hold(self, versions: Mapping[str, Version]) -> set[str]:
        mine = envelope.claim(self.token)
        held = {key: Replacement(mine, version, self._seconds) for key, version in versions.items()}
        replaced = self._cache.replace_many(held) if held else {}
        self._claims |= replaced
        return set(replaced)

    def _renew_until(self, over: Event) -> None:
        while not over.wait(self._seconds / RENEWALS_IN_A_LIFE):
            self.renew()


@dataclass(frozen=True, slots=True)
class Departure:
    """Of the keys asked for: `mine` are for this flight to fill, `taken` are being filled by another one.

    `unreachable` are on a node that is down or full: nobody can say, and nobody can be told.
    """

    flight: Flight
    mine: frozenset[str]
    taken: frozenset[str]
    unreachable: frozenset[str]


def depart(
    service: APICacheService,
    names: Sequence[str],
    seconds: float,
    asked_at: float,
    *,
    refresh: bool = False,
    flight: Flight | None = None,
) -> Departure:
    """Claim what can be claimed of these keys, for `seconds` at a time; for a `flight` that is under way, or a new one.

    What has an answer inside its life is as good as taken, unless `refresh` wants a newer one. A failure from before
    `asked_at` is no obstacle, nor is a value that cannot be read.
    """
    cache, flight = service.cache, flight or Flight(service.cache, seconds)
    mine = envelope.claim(flight.token)
    claims, unreachable = cache.claim_many(names, mine, seconds)
    found: dict[str, Version] = {}
    locks: dict[str, str] = {}
    if rest := [name for name in names if name not in claims and name not in unreachable]:
        stored, lost = cache.fetch_versions(rest)
        again, refused = _claimed_again(cache, [name for name in rest if name not in stored], mine, seconds)
        claims |= again
        unreachable = [*unreachable, *lost, *refused]
        over = {name: Replacement(mine, v, seconds) for name, (value, v) in stored.items() if _failed(value, asked_at)}
        claims |= cache.replace_many(over) if over else {}
        old = {name: v for name, (value, v) in stored.items() if _may_be_replaced(value, asked_at, refresh=refresh)}
        locks = {name: _lock_name(service, name) for name in old}
        got_locks, lost_locks = _locked(cache, list(locks.values()), mine, seconds, asked_at)
        claims |= got_locks
        # No lock to be had is none taken
        found = {name: old[name] for name, lock in locks.items() if lock in got_locks or lock in lost_locks}
    flight.board(claims, found, {name: locks[name] for name in found})
    got = frozenset(name for name in names if name in claims or name in found)
    return Departure(flight, got, frozenset(names) - got - frozenset(unreachable), frozenset(unreachable))


def _claimed_again(
    cache: StrictCache, gone: Sequence[str], mine: Any, seconds: float
) -> tuple[dict[str, Version], list[str]]:
    """Keys that were taken and are not there now, claimed once more; and those that no claim can be put under.

    A node whose memory is full takes nothing: whoever waited for another's answer there would wait for ever.
    """
    if not gone:
        return {}, []
    claims, lost = cache.claim_many(gone, mine, seconds)
    open_ones = [name for name in gone if name not in claims and name not in lost]
    there = cache.fetch_versions(open_ones)[0] if open_ones else {}
    return claims, [*lost, *(name for name in open_ones if name not in there)]


def _locked(
    cache: StrictCache, locks: Sequence[str], mine: Any, seconds: float, asked_at: float
) -> tuple[dict[str, Version], list[str]]:
    """The locks that were got, and those that nobody can get. A failure from before `asked_at` is no obstacle."""
    if not locks:
        return {}, []
    got, unreachable = cache.claim_many(locks, mine, seconds)
    if rest := [lock for lock in locks if lock not in got and lock not in unreachable]:
        notes = cache.fetch_versions(rest)[0].items()
        over = {lock: Replacement(mine, v, seconds) for lock, (value, v) in notes if _failed(value, asked_at)}
        got |= cache.replace_many(over) if over else {}
    return got, unreachable


def failures_beside(service: APICacheService, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """What flights failed with that were to replace the values there, by key."""
    locks = {_lock_name(service, name): name for name in names}
    found = service.cache.fetch_many(locks)[0] if locks else {}
    facts = {locks[lock]: envelope.failure_in(value) for lock, value in found.items()}
    return {name: failure for name, failure in facts.items() if failure is not None}


def _lock_name(service: APICacheService, name: str) -> str:
    return keys.normalize(f"{LOCK_PREFIX}fill.{name}", len(service.wire_prefix))


def _may_be_replaced(value: Any, now: float, *, refresh: bool) -> bool:
    if isinstance(value, dict) and value.get("v") == envelope.NO_ANSWER:
        return False
    read = envelope.unwrap(value, now)
    # One that was born since landed while we were about to claim
    return read.outcome is not Outcome.HIT or (refresh and read.born_at < now)


def _failed(value: Any, before: float) -> bool:
    facts = envelope.failure_in(value)
    return facts is not None and float(facts.get("at", 0)) <= before
