"""How often will a key be asked for in the time that a refresh covers? Pure: no Django, time is an argument.

Every time here is wall-clock seconds: bins are hours of people's days. What is expected of a key is linear in its own
statistics, its visits by time of day and its recency-weighted rate. The replay of a log, and the database that picks
candidates out of a million keys, evaluate the same sums with the same weights.

    visits expected in a slot = (own visits in that bin + KAPPA × rate × profile) / (times the bin was seen + KAPPA)

A visit is a read at least one life time after the last visit: reads that follow it closely are hits and cost nothing.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import Final

DAY: Final = 86_400
SLOT: Final = 1_800
SLOTS_A_DAY: Final = DAY // SLOT
# Weekday or weekend × time of day: what a key's own habits are counted by
BINS: Final = 2 * SLOTS_A_DAY
# Day of the week × time of day: what the whole traffic is counted by
WEEK: Final = 7 * SLOTS_A_DAY

# A habit loses this share of its weight each day: five weeks to the half
DECAY_A_DAY: Final = 0.98
# Days after which nothing of a habit is left
LONGEST_MEMORY: Final = 400
# Any fixed day before all others; a float holds 90 years of DECAY_A_DAY from it
EPOCH_DAY: Final = 20_000
# Own reads outweigh rate × profile once a bin was seen for ten hours
KAPPA: Final = 10 * 3_600 / SLOT

FAST_HALF_LIFE: Final = 3 * 3_600.0
SLOW_HALF_LIFE: Final = 7.0 * DAY
# Who was here a moment ago comes back more often than the week says
FAST_SHARE: Final = 0.2

# Classes of keys whose expectations are set right together: by the visits that a key has left out since its last one,
# going by its rate at that time, and by those that it can be expected to make at once
ABSENCES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
RATES: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
# Visits that have to be seen before a class is believed
CALIBRATION_PRIOR: Final = 20.0

# What a read counts that comes before the next run, before the one after it, and later than that
URGENCY: Final = (1.0, 0.2, 0.05)


def slot_of(at: float) -> int:
    return int(at // SLOT)


def bin_of(slot: int) -> int:
    """Weekdays first, then weekends."""
    day, part = divmod(slot, SLOTS_A_DAY)
    return part + (SLOTS_A_DAY if _weekday(day) >= 5 else 0)


def week_slot(slot: int) -> int:
    day, part = divmod(slot, SLOTS_A_DAY)
    return _weekday(day) * SLOTS_A_DAY + part


def _weekday(day: int) -> int:
    """Monday is 0; day 0, 1970-01-01, was a Thursday."""
    return (day + 3) % 7


def unit(day: int) -> float:
    """What one read of that day adds to a bin: in units of EPOCH_DAY sums need no daily decay, only additions."""
    return float(DECAY_A_DAY ** (EPOCH_DAY - day))


def halved(seconds: float, half_life: float) -> float:
    """What is left of 1 after `seconds`."""
    return float(2.0 ** (-seconds / half_life))


def times_seen(first: int, now: int) -> list[float]:
    """How often each bin was watched from slot `first` until before slot `now`, older days counting less. [BINS]"""
    first_day, today = first // SLOTS_A_DAY, now // SLOTS_A_DAY
    whole = {False: 0.0, True: 0.0}
    for day in range(max(first_day + 1, today - LONGEST_MEMORY), today):
        whole[_weekday(day) >= 5] += DECAY_A_DAY ** (today - day)
    seen = [whole[False]] * SLOTS_A_DAY + [whole[True]] * SLOTS_A_DAY
    for day in {first_day, today}:
        for slot in range(max(first, day * SLOTS_A_DAY), min(now, (day + 1) * SLOTS_A_DAY)):
            seen[bin_of(slot)] += DECAY_A_DAY ** (today - day)
    return seen


def profile(reads: Sequence[float], first: int, now: int) -> list[float]:
    """The traffic of each slot of the week over its mean, from all reads since slot `first`. [WEEK] -> [WEEK]

    A slot that was seen rarely leans on the same time of other days of its kind, as if that were one more week of it.
    """
    times = [_times(slot, first, now) for slot in range(WEEK)]
    mean = sum(reads) / max(1, now - first)
    if mean <= 0:
        return [1.0] * WEEK
    pooled_reads, pooled_times = [0.0] * BINS, [0] * BINS
    for slot in range(WEEK):
        kind = _bin_of_week(slot)
        pooled_reads[kind] += reads[slot]
        pooled_times[kind] += times[slot]
    pooled = [(r + mean) / (t + 1) for r, t in zip(pooled_reads, pooled_times, strict=True)]
    return [(reads[slot] + pooled[_bin_of_week(slot)]) / (times[slot] + 1) / mean for slot in range(WEEK)]


def _bin_of_week(slot: int) -> int:
    return slot % SLOTS_A_DAY + (SLOTS_A_DAY if slot >= 5 * SLOTS_A_DAY else 0)


def _times(slot: int, first: int, now: int) -> int:
    """How many of the slots from `first` until before `now` are this one of the week."""
    ahead = (slot - week_slot(first)) % WEEK
    return max(0, -(-(now - first - ahead) // WEEK))


@dataclass(frozen=True, slots=True)
class Level:
    """Weights that make a key's two decayed sums of visits its rate, in reads a slot."""

    fast: float
    slow: float


def left_out(slow: float, absence: float) -> float:
    """Visits that a key would have made in `absence` seconds, going by its slow sum at its last visit."""
    return slow * log(2) / SLOW_HALF_LIFE * absence


def level(age: float) -> Level:
    """`age`: seconds that have been watched; sums over less than their half-life are still filling up."""
    return Level(
        FAST_SHARE * _per_slot(FAST_HALF_LIFE, age),
        (1 - FAST_SHARE) * _per_slot(SLOW_HALF_LIFE, age),
    )


def _per_slot(half_life: float, age: float) -> float:
    return log(2) / half_life * SLOT / (1 - halved(max(age, DAY), half_life))


@dataclass(frozen=True, slots=True)
class SlotWeights:
    """Reads expected in one slot = own × (sum of the bin, in units of EPOCH_DAY) + prior × (rate in reads a slot)."""

    bin: int
    own: float
    prior: float


@dataclass(frozen=True, slots=True)
class Season:
    """What a run knows of the time it runs at: how often each bin was seen, and the traffic of the week."""

    seen: Sequence[float]
    traffic: Sequence[float]

    def weights(self, slot: int, today: int) -> SlotWeights:
        kind = bin_of(slot)
        share = self.seen[kind] + KAPPA
        return SlotWeights(kind, 1 / (unit(today) * share), KAPPA * self.traffic[week_slot(slot)] / share)


def season(reads: Sequence[float], first: int, now: int) -> Season:
    return Season(times_seen(first, now), profile(reads, first, now))


def covered(start: float, end: float) -> dict[int, float]:
    """The share of each slot's reads that falls between two times: rates run straight from one slot's middle to the
    next one's, as people's do, and do not jump on the hour. Sums to (end - start) / SLOT."""
    shares: dict[int, float] = {}
    for left, low, high in _pieces(start, end):
        middle = (left + 0.5) * SLOT
        right = ((high - middle) ** 2 - (low - middle) ** 2) / (2 * SLOT)
        shares[left] = shares.get(left, 0.0) + (high - low - right) / SLOT
        shares[left + 1] = shares.get(left + 1, 0.0) + right / SLOT
    return shares


def _pieces(start: float, end: float) -> Iterator[tuple[int, float, float]]:
    """The stretches between the middles of two slots: the earlier slot, from, to."""
    at = start
    while at < end:
        left = int((at - SLOT / 2) // SLOT)
        until = min(end, (left + 1.5) * SLOT)
        yield left, at, until
        at = until


Shares = Sequence[tuple[int, float]]  # slot, share of its reads


@dataclass(frozen=True, slots=True)
class Weights:
    """What a refresh of one key at one moment would cover, in three stretches: until the next run, until the one after
    it, and until the new answer ends. With them reads are sums over the key's rates in the slots from `first` on."""

    first: int
    stretches: tuple[Shares, Shares, Shares]

    def expected(self, rates: Sequence[float]) -> float:
        """Visits expected until the new answer ends."""
        return sum(share * rates[slot - self.first] for stretch in self.stretches for slot, share in stretch)

    def worth(self, rates: Sequence[float]) -> float:
        """Misses avoided per paid call that no later run could avoid as well.

        One refresh avoids one miss, the first. When that comes before the next run only this one can avoid it; when
        it comes later, runs that know more can, and this one may spend its budget on what cannot wait.
        """
        value, before, reads = 0.0, 1.0, 0.0
        for weight, stretch in zip(URGENCY, self.stretches, strict=True):
            for slot, share in stretch:
                reads += share * rates[slot - self.first]
            after = exp(-reads)
            value += weight * (before - after)
            before = after
        return value


def weights(first: int, start: float, now: float, period: float, life: float) -> Weights:
    """Of a run at `now` for a key that is uncovered from `start` on; `first` is the slot that its rates begin with."""
    end = now + life
    edges = (now, min(now + period, end), min(now + 2 * period, end), end)
    near, next_one, later = (tuple(covered(max(start, low), high).items()) for low, high in pairwise(edges))
    return Weights(first, (near, next_one, later))


def urgency_at_most(first: int, slots: int, period: float, life: float) -> list[float]:
    """Weights of the slots from `first` on: with them no key's `worth` at any run in the second slot is greater.

    They pick candidates before anything is known of the cache: one sum for each key, which a database can do too.
    """
    most = [0.0] * slots
    begin = (first + 1) * SLOT
    for step in range(int(-(-SLOT // period)) + 1):
        now = begin + min(step * period, SLOT)
        found = [0.0] * slots
        for weight, stretch in zip(URGENCY, weights(first, now, now, period, life).stretches, strict=True):
            for slot, share in stretch:
                found[slot - first] += weight * share
        most = list(map(max, most, found))
    return most


class Calibration:
    """What keys did against what was expected of them, class by class: learned from past runs only.

    Habits are slow to notice that a key has gone for good, or has just begun; its absence tells.
    """

    def __init__(self) -> None:
        cells = (len(ABSENCES) + 1) * (len(RATES) + 1)
        self._expected = [CALIBRATION_PRIOR] * cells
        self._seen = [CALIBRATION_PRIOR] * cells

    @staticmethod
    def cell(absence: float, rate: float) -> int:
        """A key's class: the visits it has left out, and those it can be expected to make."""
        return bisect(ABSENCES, absence) * (len(RATES) + 1) + bisect(RATES, rate)

    def learn(self, cell: int, expected: float, seen: float) -> None:
        self._expected[cell] += expected
        self._seen[cell] += seen

    def fade(self) -> None:
        """Once a day: what was learned long ago counts less."""
        for sums in (self._expected, self._seen):
            sums[:] = [CALIBRATION_PRIOR + (value - CALIBRATION_PRIOR) * DECAY_A_DAY for value in sums]

    def factors(self) -> list[float]:
        """For each class, what to multiply expectations by."""
        return [seen / expected for seen, expected in zip(self._seen, self._expected, strict=True)]
