"""Replays an access log against warming: what a budget would have brought, for the policy and for others. Pure.

A look-up whose answer has ended is a miss and loads it for one life time; a hit does not prolong it. Each run comes
before the look-ups of its period and loads at most `budget` keys for a life time each. Nothing is known beforehand:
the policy goes on learning from each look-up it has served, as the live system does.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from api_service.services.access_log import AccessLog
from api_service.services.warm_policy import DAY

LAST_FIFTH = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """`start` is the first run, in the log's seconds; `break_even` are reads expected of a key worth a paid call."""

    start: float
    life: float
    period: float
    break_even: float = 0.0


def start_after(log: AccessLog, learn_days: float | None, period: float) -> float:
    """The midnight after so many days of the log, or else the run after the first half of its time."""
    first, last = log.times[0], log.times[-1]
    if learn_days is not None:
        return first // DAY * DAY + learn_days * DAY
    return (first + last) / 2 // period * period


class Strategy(Protocol):
    """Chooses what to load. `observe` is told of every look-up once it was served, `begin` of each run."""

    def observe(self, key: int, at: float, /) -> None: ...

    def begin(self, now: float, /) -> None: ...

    def choose(self, now: float, ends: Sequence[float], budget: int, /) -> Sequence[int]:
        """The keys to load, `budget` at most; `ends` says until when each key's answer is in the cache."""


@dataclass
class Cache:
    """One cache that is replayed: what is in it, and what it cost."""

    keys: int
    life: float
    budget: int = 0
    strategy: Strategy | None = None
    misses: int = 0
    warms: int = 0
    useful: int = 0
    ends: array[float] = field(init=False)
    _unread: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ends = array("d", bytes(8 * self.keys))

    @property
    def wasted(self) -> int:
        """Loaded answers that nobody read before they ended or were loaded again."""
        return self.warms - self.useful

    def count_from_here(self) -> None:
        """What was there before stays in the cache; what it cost is not counted."""
        self.misses = self.warms = self.useful = 0
        self._unread.clear()

    def look_up(self, key: int, at: float) -> None:
        if self.ends[key] <= at:
            self.misses += 1
            self.ends[key] = at + self.life
            self._unread.discard(key)
        elif key in self._unread:
            self._unread.remove(key)
            self.useful += 1

    def run(self, now: float) -> None:
        if self.strategy is None:
            return
        for key in self.strategy.choose(now, self.ends, self.budget):
            self.ends[key] = now + self.life
            self._unread.add(key)
            self.warms += 1


class RefreshOnAccess(Cache):
    """What others do instead of warming: a look-up in the last fifth of an answer's life loads it again."""

    def look_up(self, key: int, at: float) -> None:
        super().look_up(key, at)
        if self.ends[key] - at <= self.life / LAST_FIFTH:
            self.ends[key] = at + self.life
            self._unread.add(key)
            self.warms += 1


def play(log: AccessLog, plan: Plan, caches: Sequence[Cache], strategies: Sequence[Strategy]) -> Iterator[float]:
    """Replays the log, into `caches`, and yields after each run the share of the log that is behind it.

    Before the first run everything only learns, and the caches fill without being counted.
    """
    at = _serve(log, 0, plan.start, caches, strategies)
    for cache in caches:
        cache.count_from_here()
    for now in _run_times(log, plan):
        at = _serve(log, at, now, caches, strategies)
        for strategy in strategies:
            strategy.begin(now)
        for cache in caches:
            cache.run(now)
        yield at / len(log)
    _serve(log, at, float("inf"), caches, strategies)


def _run_times(log: AccessLog, plan: Plan) -> Iterator[float]:
    number, last = 0, log.times[-1]
    while (now := plan.start + number * plan.period) <= last:
        yield now
        number += 1


def _serve(log: AccessLog, at: int, end: float, caches: Sequence[Cache], strategies: Sequence[Strategy]) -> int:
    times, keys = log.times, log.keys
    while at < len(times) and times[at] < end:
        for cache in caches:
            cache.look_up(keys[at], times[at])
        for strategy in strategies:
            strategy.observe(keys[at], times[at])
        at += 1
    return at
