"""What each budget would have brought on a log: the policy beside none, two baselines and the best possible. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from api_service.services.access_log import AccessLog
from api_service.services.warm_replay import Cache, Plan, RefreshOnAccess, Strategy, play
from api_service.services.warm_strategies import Clairvoyant, MostReadEver, MostReadLately, Policy

MOST_RUNS: Final = 2_000_000


class CannotReplay(ValueError):
    """The log is too short or the plan is none; the text says what to change."""


class BudgetRow(TypedDict):
    """One budget per run. `warms` and `wasted` are the policy's: calls, and those that nobody read in time."""

    budget: int
    misses_none: int
    misses_policy: int
    misses_clairvoyant: int
    warms: int
    wasted: int


class Report(TypedDict):
    accesses: int
    budgets: list[BudgetRow]


@dataclass(frozen=True, slots=True)
class Baselines:
    """Misses by budget, and what refreshing on access would do with no budget at all."""

    lately: Sequence[int]
    ever: Sequence[int]
    refresh_misses: int
    refresh_calls: int


def check(log: AccessLog, plan: Plan) -> None:
    last = log.times[-1]
    if plan.start > last:
        raise CannotReplay(
            "the log ends before there is anything to measure: fewer days to learn from, or a longer log"
        )
    if (last - plan.start) / plan.period > MOST_RUNS:
        raise CannotReplay(f"more than {MOST_RUNS:,} runs: a longer period, or a shorter log")


def compare(
    log: AccessLog, plan: Plan, budgets: Sequence[int], *, baselines: bool, tell: Callable[[float], None]
) -> tuple[Report, Baselines | None]:
    """`tell` is called with the share of the log that is behind; `baselines` cost about as much again as the rest."""
    check(log, plan)
    policy, lately, ever = Policy(log, plan), MostReadLately(plan), MostReadEver(plan)
    none = _cache(log, plan)
    warmed = [_cache(log, plan, budget, policy) for budget in budgets]
    best = [_cache(log, plan, budget, Clairvoyant(log, plan, budget)) for budget in budgets]
    caches, others = [none, *warmed, *best], list[Cache]()
    if baselines:
        others = [_cache(log, plan, budget, strategy) for strategy in (lately, ever) for budget in budgets]
        others.append(RefreshOnAccess(len(log.names), plan.life))
    learning: list[Strategy] = [policy, lately, ever] if baselines else [policy]
    for share in play(log, plan, [*caches, *others], learning):
        tell(share)
    rows = [_row(none, ours, ideal) for ours, ideal in zip(warmed, best, strict=True)]
    accesses = len(log) - bisect_left(log.times, plan.start)
    return {"accesses": accesses, "budgets": rows}, _baselines(others, len(budgets)) if baselines else None


def captured(misses_none: int, misses: int, misses_best: int) -> float:
    """Share of what the clairvoyant saves; 1 where there was nothing to save."""
    return (misses_none - misses) / (misses_none - misses_best) if misses_none > misses_best else 1.0


def _cache(log: AccessLog, plan: Plan, budget: int = 0, strategy: Strategy | None = None) -> Cache:
    return Cache(len(log.names), plan.life, budget, strategy)


def _row(none: Cache, ours: Cache, ideal: Cache) -> BudgetRow:
    return {
        "budget": ours.budget,
        "misses_none": none.misses,
        "misses_policy": ours.misses,
        "misses_clairvoyant": ideal.misses,
        "warms": ours.warms,
        "wasted": ours.wasted,
    }


def _baselines(caches: Sequence[Cache], budgets: int) -> Baselines:
    *counted, refresh = caches
    misses = [cache.misses for cache in counted]
    return Baselines(misses[:budgets], misses[budgets:], refresh.misses, refresh.warms)
