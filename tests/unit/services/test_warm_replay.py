"""Small logs whose every miss can be counted by hand: an answer lives 100 s, a run comes each 10 s."""

from collections.abc import Sequence

import pytest

from api_service.services import access_log
from api_service.services.access_log import AccessLog
from api_service.services.warm_comparison import CannotReplay, captured, compare
from api_service.services.warm_replay import Cache, Plan, RefreshOnAccess, play, start_after
from api_service.services.warm_strategies import Policy

LIFE, PERIOD = 100.0, 10.0


def log_of(*entries: tuple[float, str]) -> AccessLog:
    return access_log.parse(f"{at},{key}" for at, key in entries)


class Always:
    """Loads the same key in each run that comes when it has ended."""

    def __init__(self, key: int) -> None:
        self._key = key

    def observe(self, key: int, at: float) -> None: ...

    def begin(self, now: float) -> None: ...

    def choose(self, now: float, ends: Sequence[float], budget: int) -> list[int]:
        return [self._key] if ends[self._key] <= now else []


def played(log: AccessLog, start: float, *caches: Cache) -> None:
    for _ in play(log, Plan(start, LIFE, PERIOD), caches, []):
        pass


def test_an_answer_is_a_hit_until_its_life_is_over_and_a_hit_does_not_prolong_it() -> None:
    log = log_of((0, "a"), (60, "a"), (99, "a"), (100, "a"), (150, "b"))
    cache = Cache(2, LIFE)
    played(log, 0, cache)
    assert cache.misses == 3  # a at 0 and 100, b


def test_before_the_first_run_the_cache_fills_and_nothing_is_counted() -> None:
    log = log_of((0, "a"), (50, "a"), (105, "a"))
    cache = Cache(1, LIFE)
    played(log, 50, cache)
    assert cache.misses == 1


def test_a_run_comes_before_the_look_ups_of_its_period() -> None:
    log = log_of((0, "a"), (20, "a"))
    cache = Cache(1, LIFE, 1, Always(0))
    played(log, 0, cache)
    assert (cache.misses, cache.warms, cache.useful, cache.wasted) == (0, 1, 1, 0)


def test_a_loaded_answer_that_nobody_reads_in_time_is_wasted() -> None:
    """a is loaded at 0, 100, 200 and 300, and read at 300."""
    cache = Cache(2, LIFE, 1, Always(1))
    played(log_of((0, "b"), (300, "a")), 0, cache)
    assert (cache.warms, cache.useful, cache.wasted) == (4, 1, 3)


def test_refresh_on_access_loads_again_in_the_last_fifth_only() -> None:
    early, late = RefreshOnAccess(1, LIFE), RefreshOnAccess(1, LIFE)
    played(log_of((0, "a"), (79, "a"), (110, "a")), 0, early)
    played(log_of((0, "a"), (80, "a"), (110, "a")), 0, late)
    assert (early.misses, early.warms) == (2, 0)
    assert (late.misses, late.warms) == (1, 1)


def test_the_best_possible_gives_each_miss_the_latest_run_with_a_place() -> None:
    """Four keys want the run at 20: one gets it, one that at 10, and the one at 0 is z's."""
    log = log_of((0, "z"), (21, "a"), (22, "b"), (23, "c"), (24, "d"))
    report, _ = compare(log, Plan(0, LIFE, PERIOD), [1, 2], baselines=False, tell=lambda _: None)
    assert [row["misses_clairvoyant"] for row in report["budgets"]] == [2, 0]
    assert [row["misses_none"] for row in report["budgets"]] == [5, 5]


def test_a_habit_of_weeks_is_loaded_before_it_is_asked_for() -> None:
    day, nine = 86_400, 9 * 3600
    entries = sorted((number * day + nine + 60 * place, f"k{place}") for number in range(28) for place in range(1, 6))
    log = log_of(*entries)
    plan = Plan(start_after(log, 21, 300), 3600, 300, break_even=0.25)
    report, _ = compare(log, plan, [5], baselines=False, tell=lambda _: None)
    row = report["budgets"][0]
    assert (row["misses_none"], row["misses_clairvoyant"]) == (35, 0)
    assert row["misses_policy"] <= 10
    assert row["warms"] - row["wasted"] >= 25


def test_the_policy_knows_nothing_of_what_is_still_to_come() -> None:
    """Two logs with the same past: what the policy chooses before they part is the same."""
    past = [(60.0 * number, f"k{number % 7}") for number in range(2000)]
    chosen = [_ends_at(119_000, log_of(*past, *_later(future))) for future in ("k1", "k5")]
    assert chosen[0] == chosen[1]
    assert max(chosen[0]) > 0


def _later(key: str) -> list[tuple[float, str]]:
    return [(120_000.0 + 60 * number, key) for number in range(50)]


def _ends_at(until: float, log: AccessLog) -> list[float]:
    """What is in the cache after the last run before `until`."""
    plan = Plan(90_000, 3600, 300)
    policy = Policy(log, plan)
    cache = Cache(len(log.names), 3600, 3, policy)
    for number, _ in enumerate(play(log, plan, [cache], [policy])):
        if plan.start + (number + 1) * plan.period > until:
            break
    return list(cache.ends)


def test_the_baselines_are_the_most_read_of_a_day_and_of_all_time() -> None:
    old = [(float(number), "old") for number in range(50)]
    new = [(200_000.0 + 1000 * number, "new") for number in range(20)]
    log = log_of(*old, *new)
    _, baselines = compare(log, Plan(210_000, LIFE, PERIOD), [1], baselines=True, tell=lambda _: None)
    assert baselines is not None
    assert baselines.lately == [0]
    assert baselines.ever == [10]
    assert (baselines.refresh_misses, baselines.refresh_calls) == (10, 0)


def test_days_are_those_of_the_calendar_and_otherwise_half_of_the_time_teaches() -> None:
    log = log_of((86_400 + 40_000, "a"), (4 * 86_400, "a"))
    assert start_after(log, 2, 300) == 3 * 86_400
    assert start_after(log, None, 300) == (126_400 + 345_600) / 2 // 300 * 300


def test_a_log_with_nothing_left_to_measure_is_refused() -> None:
    log = log_of((0, "a"), (10, "a"))
    with pytest.raises(CannotReplay, match="before there is anything to measure"):
        compare(log, Plan(86_400, LIFE, PERIOD), [1], baselines=False, tell=lambda _: None)
    with pytest.raises(CannotReplay, match="more than 2,000,000 runs"):
        compare(log, Plan(0, LIFE, 1e-6), [1], baselines=False, tell=lambda _: None)


def test_nothing_to_save_is_captured_in_full() -> None:
    assert captured(5, 5, 5) == 1
    assert captured(10, 6, 2) == 0.5
