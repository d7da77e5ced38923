"""What a log has taught so far: the statistics of `warm_policy` for each key, kept in memory. Pure.

The database keeps the same ones for the live system (`warm_statistics`); here they live as long as a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nlargest
from math import exp
from typing import Final

from api_service.services.warm_policy import (
    BINS,
    FAST_HALF_LIFE,
    SLOT,
    SLOTS_A_DAY,
    SLOW_HALF_LIFE,
    WEEK,
    SlotWeights,
    bin_of,
    halved,
    level,
    reads_a_visit,
    season,
    slot_of,
    unit,
    urgency_at_most,
    week_slot,
)

# A run looks closer at this many keys
SHORTLIST: Final = 500
# After so many half-lives the sums of the fast rate are brought back to where floats are exact
LONGEST_GROWTH: Final = 400
# Own reads in a bin that are no habit any more
FORGOTTEN: Final = 0.02


@dataclass(frozen=True, slots=True)
class Shortlist:
    """Keys by place, and the rates of the key at a place, in visits a slot, of the slots from `first` on."""

    first: int
    keys: Sequence[int]
    # Called for the few that a run looks at: most of the list is never reached
    rates: Callable[[int], Sequence[float]]
    # No key is worth more at any run of the slot
    at_most: Sequence[float]


class Habits:
    """Fed with every look-up in the order of time; `shortlist` knows only what came before."""

    def __init__(self, start: float, keys: int, life: float) -> None:
        """`life`: seconds that an answer lives; visits closer than that are one, the cache served the others."""
        self._first = slot_of(start)
        self._life = life
        self._bins: list[dict[int, float]] = [{} for _ in range(BINS)]
        self._week = [0.0] * WEEK
        self._visited = [float("-inf")] * keys
        # Sums of visits, each in units of a visit at its base
        self._fast, self._slow = [0.0] * keys, [0.0] * keys
        self._reads = [0.0] * keys
        self._now = start
        self._fast_base = self._slow_base = start
        self._forgot_on = -1

    def observe(self, key: int, at: float) -> None:
        slot = slot_of(at)
        self._week[week_slot(slot)] += 1
        self._now = at
        self._rebase(at)
        self._reads[key] += halved(self._slow_base - at, SLOW_HALF_LIFE)
        if at - self._visited[key] >= self._life:
            self._visited[key] = at
            self._visit(key, at, slot)

    def _visit(self, key: int, at: float, slot: int) -> None:
        counts = self._bins[bin_of(slot)]
        counts[key] = counts.get(key, 0.0) + unit(slot // SLOTS_A_DAY)
        self._fast[key] += halved(self._fast_base - at, FAST_HALF_LIFE)
        self._slow[key] += halved(self._slow_base - at, SLOW_HALF_LIFE)

    def _rebase(self, at: float) -> None:
        if at - self._fast_base > LONGEST_GROWTH * FAST_HALF_LIFE:
            self._fast = _rebased(self._fast, at - self._fast_base, FAST_HALF_LIFE)
            self._fast_base = at
        if at - self._slow_base > LONGEST_GROWTH * SLOW_HALF_LIFE:
            self._slow, self._reads = (
                _rebased(sums, at - self._slow_base, SLOW_HALF_LIFE) for sums in (self._slow, self._reads)
            )
            self._slow_base = at

    def shortlist(self, now: float, period: float) -> Shortlist:
        """The keys that could be worth most at a run in the slot of `now`, with the greatest possible worth first."""
        current = slot_of(now)
        self._forget(current // SLOTS_A_DAY)
        slots = slot_of(now + SLOT + self._life) + 2 - (current - 1)
        found = season(self._week, self._first, max(self._first, current))
        weights = [found.weights(slot, current // SLOTS_A_DAY) for slot in range(current - 1, current - 1 + slots)]
        levels = self._levels(now)
        bounds = self._bounds(levels, weights, urgency_at_most(current - 1, slots, period, self._life))
        best = nlargest(SHORTLIST, range(len(bounds)), key=bounds.__getitem__)
        keys = [key for key in best if bounds[key] > 0]

        def rates(place: int) -> list[float]:
            key = keys[place]
            own = (weight.own * self._bins[weight.bin].get(key, 0.0) for weight in weights)
            return [habit + weight.prior * levels[key] for habit, weight in zip(own, weights, strict=True)]

        return Shortlist(current - 1, keys, cache(rates), [1 - exp(-bounds[key]) for key in keys])

    def reads_a_visit(self, key: int) -> float:
        """A visit's own read and those that follow within a life time: what a refreshed answer serves."""
        scale = halved(self._now - self._slow_base, SLOW_HALF_LIFE)
        return reads_a_visit(self._reads[key] * scale, self._slow[key] * scale)

    def _bounds(self, levels: list[float], weights: Sequence[SlotWeights], urgency: Sequence[float]) -> list[float]:
        prior = sum(most * weight.prior for weight, most in zip(weights, urgency, strict=True))
        bounds = [prior * rate for rate in levels]
        for weight, most in zip(weights, urgency, strict=True):
            own = most * weight.own
            if own:
                for key, count in self._bins[weight.bin].items():
                    bounds[key] += own * count
        return bounds

    def _forget(self, today: int) -> None:
        if today == self._forgot_on:
            return
        self._forgot_on = today
        least = FORGOTTEN * unit(today)
        self._bins = [{key: count for key, count in counts.items() if count > least} for counts in self._bins]

    def _levels(self, now: float) -> list[float]:
        """Each key's rate, in reads a slot."""
        weights = level(now - self._first * SLOT)
        fast = weights.fast * halved(now - self._fast_base, FAST_HALF_LIFE)
        slow = weights.slow * halved(now - self._slow_base, SLOW_HALF_LIFE)
        return [fast * f + slow * s for f, s in zip(self._fast, self._slow, strict=True)]


def _rebased(sums: list[float], seconds: float, half_life: float) -> list[float]:
    factor = halved(seconds, half_life)
    return [value * factor for value in sums]
