"""What chooses the keys to load in a replay: the policy, two baselines, and one that knows the future. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from heapq import heappush, heappushpop
from itertools import islice
from typing import Final

from api_service.services.access_log import AccessLog
from api_service.services.warm_habits import NOBODY, Habits
from api_service.services.warm_policy import DAY, Weights, slot_of, weights
from api_service.services.warm_replay import Plan

RECENT_SECONDS: Final = float(DAY)
MOST_BUDGET: Final = 10_000


class Policy:
    """`warm_policy` on what the log has shown so far. One for all budgets: what is expected depends on none."""

    def __init__(self, log: AccessLog, plan: Plan) -> None:
        self._plan = plan
        self._habits = Habits(log.times[0], len(log.names), plan.life)
        self._shortlist = NOBODY
        self._slot = -1
        self._places: list[int] = []
        self._weights: dict[float, Weights] = {}
        self._absent: dict[int, float] = {}

    def observe(self, key: int, at: float) -> None:
        self._habits.observe(key, at)

    def begin(self, now: float) -> None:
        if slot_of(now) != self._slot:
            self._slot = slot_of(now)
            self._shortlist = self._habits.shortlist(now, self._plan.period)
            self._places = [place for place in range(len(self._shortlist.keys)) if self._can_pay(place)]
        self._weights, self._absent = {}, {}

    def choose(self, now: float, ends: Sequence[float], budget: int) -> list[int]:
        """The keys of the greatest worth. The shortlist is in the order of what each can be worth at most: the search
        ends where that is less than what was found."""
        best: list[tuple[float, int]] = []
        for place in self._places:
            key, at_most = self._shortlist.keys[place], self._shortlist.at_most[place]
            if len(best) == budget and at_most <= best[0][0]:
                break
            if ends[key] <= now + self._plan.period:
                worth = self._worth(place, max(now, ends[key]), now)
                if worth > 0:
                    (heappush if len(best) < budget else heappushpop)(best, (worth, key))
        return [key for _, key in sorted(best, reverse=True)]

    def _worth(self, place: int, start: float, now: float) -> float:
        """0 where fewer reads are expected than the call costs."""
        if start > now:
            return self._value(place, start, now)
        if place not in self._absent:
            self._absent[place] = self._value(place, now, now)
        return self._absent[place]

    def _value(self, place: int, start: float, now: float) -> float:
        if start not in self._weights:
            plan = self._plan
            self._weights[start] = weights(self._shortlist.first, start, now, plan.period, plan.life)
        found, rates = self._weights[start], self._shortlist.rates(place)
        if self._plan.break_even and not self._pays(place, found.expected(rates)):
            return 0.0
        return found.worth(rates)

    def _pays(self, place: int, visits: float) -> bool:
        return visits * self._shortlist.correction(place) >= self._plan.break_even

    def _can_pay(self, place: int) -> bool:
        """At any run of the slot: no run covers more than all slots of the list."""
        return not self._plan.break_even or self._pays(place, sum(self._shortlist.rates(place)))


class MostReadLately:
    """The most read of the last 24 hours first, of those that end before the next run; ranked anew each half hour."""

    def __init__(self, plan: Plan) -> None:
        self._period = plan.period
        self._recent: deque[tuple[float, int]] = deque()
        self._reads: Counter[int] = Counter()
        self._ranking: list[int] = []
        self._slot = -1

    def observe(self, key: int, at: float) -> None:
        self._recent.append((at, key))
        self._reads[key] += 1

    def begin(self, now: float) -> None:
        if slot_of(now) == self._slot:
            return
        self._slot = slot_of(now)
        while self._recent and self._recent[0][0] <= now - RECENT_SECONDS:
            self._reads[self._recent.popleft()[1]] -= 1
        self._reads = +self._reads
        self._ranking = [key for key, _ in self._reads.most_common()]

    def choose(self, now: float, ends: Sequence[float], budget: int) -> list[int]:
        return list(islice((key for key in self._ranking if ends[key] <= now + self._period), budget))


class MostReadEver:
    """The same few keys, the most read ones of all time, kept warm: as many as a run may load."""

    def __init__(self, plan: Plan) -> None:
        self._period = plan.period
        self._reads: Counter[int] = Counter()
        self._ranking: list[int] = []
        self._slot = -1

    def observe(self, key: int, _at: float) -> None:
        self._reads[key] += 1

    def begin(self, now: float) -> None:
        if slot_of(now) != self._slot:
            self._slot = slot_of(now)
            self._ranking = [key for key, _ in self._reads.most_common(MOST_BUDGET)]

    def choose(self, now: float, ends: Sequence[float], budget: int) -> list[int]:
        return [key for key in self._ranking[:budget] if ends[key] <= now + self._period]


class Clairvoyant:
    """Knows the log. Each miss, in the order of time, is given the latest run before it that has a place left.

    Late, since an answer loaded just before it is asked for serves the longest afterwards. A yardstick and no proof:
    taking the earliest miss first instead saves up to 3 % more on logs with more to do than budget.
    """

    def __init__(self, log: AccessLog, plan: Plan, budget: int) -> None:
        self._served: dict[float, list[int]] = {}
        ends: dict[int, float] = {}
        for at, key in zip(log.times, log.keys, strict=True):
            if ends.get(key, 0.0) <= at:
                run = self._place(at, plan, budget)
                ends[key] = (at if run is None else run) + plan.life
                if run is not None:
                    self._served.setdefault(run, []).append(key)

    def _place(self, at: float, plan: Plan, budget: int) -> float | None:
        number = int((at - plan.start) // plan.period)
        while number >= 0 and (run := plan.start + number * plan.period) + plan.life > at:
            if len(self._served.get(run, ())) < budget:
                return run
            number -= 1
        return None

    def observe(self, _key: int, _at: float) -> None:
        """It knows already."""

    def begin(self, _now: float) -> None:
        """It has chosen already."""

    def choose(self, now: float, _ends: Sequence[float], _budget: int) -> list[int]:
        return self._served.get(now, [])
