"""What a log has taught so far: the statistics of `warm_policy` for each key, kept in memory. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nlargest
from math import exp, sqrt
from typing import Final

from api_service.services.warm_policy import (
    BINS,
    FAST_HALF_LIFE,
    SLOT,
    SLOTS_A_DAY,
    SLOW_HALF_LIFE,
    WEEK,
    Calibration,
    SlotWeights,
    bin_of,
    halved,
    left_out,
    level,
    season,
    slot_of,
    unit,
    urgency_at_most,
    week_slot,
)

# A run looks closer at this many keys
SHORTLIST: Final = 400
# and learns from the best of them what expectations are worth
LEARN_FROM: Final = 200
# After so many half-lives sums are brought back to where floats are exact
LONGEST_GROWTH: Final = 400
# Own visits in a bin that are no habit any more
FORGOTTEN: Final = 0.02


@dataclass(frozen=True, slots=True)
class Shortlist:
    """Keys in the order of what each can be worth at most at a run in one slot; the arguments of calls are places."""

    first: int
    keys: Sequence[int]
    at_most: Sequence[float]
    # Visits a slot, of the slots from `first` on; called for the few that a run looks at
    rates: Callable[[int], Sequence[float]]
    # What visits expected by those rates are to be multiplied by once more
    correction: Callable[[int], float]


NOBODY: Final = Shortlist(-1, (), (), lambda _: (), lambda _: 1.0)


class Sums:
    """Decayed sums of one kind, a number for each key: each event adds 1, and half of it is left after `half_life`."""

    def __init__(self, start: float, keys: int, half_life: float) -> None:
        self._base, self._half_life = start, half_life
        # In units of an event at the base: nothing has to be touched as time goes by
        self._sums = [0.0] * keys

    def add(self, key: int, at: float) -> None:
        if at - self._base > LONGEST_GROWTH * self._half_life:
            scale = self.scale(at)
            self._sums, self._base = [value * scale for value in self._sums], at
        self._sums[key] += halved(self._base - at, self._half_life)

    def of(self, key: int, at: float) -> float:
        return self._sums[key] * self.scale(at)

    def all(self) -> list[float]:
        """In units that `scale` tells."""
        return self._sums

    def scale(self, at: float) -> float:
        return halved(at - self._base, self._half_life)


class Habits:
    """Fed with every look-up in the order of time; `shortlist` knows only what came before."""

    def __init__(self, start: float, keys: int, life: float) -> None:
        """`life`: seconds that an answer lives; reads closer than that to a visit are none, the cache served them."""
        self._first = slot_of(start)
        self._life = life
        self._bins: list[dict[int, float]] = [{} for _ in range(BINS)]
        self._week = [0.0] * WEEK
        self._fast, self._slow = Sums(start, keys, FAST_HALF_LIFE), Sums(start, keys, SLOW_HALF_LIFE)
        self._visited, self._read = [float("-inf")] * keys, [float("-inf")] * keys
        self._forgot_on = -1
        self._calibration = Calibration()
        # Key, its class and the visits expected of it in the slot that began with the last shortlist
        self._predicted: list[tuple[int, int, float]] = []
        self._predicted_at = start

    def observe(self, key: int, at: float) -> None:
        slot = slot_of(at)
        self._week[week_slot(slot)] += 1
        self._read[key] = at
        if at - self._visited[key] >= self._life:
            self._visited[key] = at
            self._fast.add(key, at)
            self._slow.add(key, at)
            counts = self._bins[bin_of(slot)]
            counts[key] = counts.get(key, 0.0) + unit(slot // SLOTS_A_DAY)

    def shortlist(self, now: float, period: float) -> Shortlist:
        """The keys that could be worth most at a run in the slot of `now`. To be called once a slot."""
        first, today = slot_of(now) - 1, slot_of(now) // SLOTS_A_DAY
        self._forget(today)
        self._learn(now)
        slots = range(first, slot_of(now + SLOT + self._life) + 2)
        found = season(self._week, self._first, max(self._first, slots[1]))
        weights = [found.weights(slot, today) for slot in slots]
        levels = self._levels(now)
        bounds = self._bounds(levels, weights, urgency_at_most(first, len(slots), period, self._life))
        best = [key for key in nlargest(SHORTLIST, range(len(bounds)), key=bounds.__getitem__) if bounds[key] > 0]
        classes = {key: Calibration.cell(self._left_out(key, now), bounds[key]) for key in best}
        # Half of the way, as ratios go: what a class did on the average says less of its hottest keys
        half = [sqrt(factor) for factor in self._calibration.factors()]
        keys = sorted(best, key=lambda key: bounds[key] * half[classes[key]], reverse=True)

        def rates(key: int) -> list[float]:
            own = (weight.own * self._bins[weight.bin].get(key, 0.0) for weight in weights)
            return [habit + weight.prior * levels[key] for habit, weight in zip(own, weights, strict=True)]

        def corrected(place: int) -> list[float]:
            factor = half[classes[keys[place]]]
            return [rate * factor for rate in rates(keys[place])]

        self._predicted = [(key, classes[key], rates(key)[1]) for key in keys[:LEARN_FROM]]
        self._predicted_at = now
        at_most = [1 - exp(-bounds[key] * half[classes[key]]) for key in keys]
        return Shortlist(first, keys, at_most, cache(corrected), lambda place: half[classes[keys[place]]])

    def _learn(self, now: float) -> None:
        """From about a slot: where runs are further apart than that, what was expected was of another time."""
        slots = (now - self._predicted_at) / SLOT
        if not 0.5 <= slots <= 2:
            return
        for key, cell, rate in self._predicted:
            self._calibration.learn(cell, rate * slots, float(self._read[key] >= self._predicted_at))

    def _forget(self, today: int) -> None:
        if today != self._forgot_on:
            self._forgot_on = today
            self._calibration.fade()
            least = FORGOTTEN * unit(today)
            self._bins = [{key: count for key, count in counts.items() if count > least} for counts in self._bins]

    def _left_out(self, key: int, now: float) -> float:
        visited = self._visited[key]
        return left_out(self._slow.of(key, visited), now - visited)

    def _levels(self, now: float) -> list[float]:
        """Each key's rate, in visits a slot."""
        weights = level(now - self._first * SLOT)
        fast, slow = weights.fast * self._fast.scale(now), weights.slow * self._slow.scale(now)
        return [fast * f + slow * s for f, s in zip(self._fast.all(), self._slow.all(), strict=True)]

    def _bounds(self, levels: list[float], weights: Sequence[SlotWeights], urgency: Sequence[float]) -> list[float]:
        """For each key the sum that its worth comes from, at most."""
        prior = sum(most * weight.prior for weight, most in zip(weights, urgency, strict=True))
        bounds = [prior * rate for rate in levels]
        for weight, most in zip(weights, urgency, strict=True):
            own = most * weight.own
            if own:
                for key, count in self._bins[weight.bin].items():
                    bounds[key] += own * count
        return bounds
