from collections.abc import Mapping
from math import inf
from random import Random

from api_service.services.rate_rules import WINDOW, wait_for, with_more, within


def test_a_query_counts_for_a_whole_minute_and_its_second() -> None:
    taken = with_more({}, 3, 1000.9)

    assert taken == {"1000": 3}
    assert within(taken, 1060.9) == taken
    assert within(taken, 1061.0) == {}


def test_what_fits_waits_for_nothing_and_what_does_not_for_the_oldest_to_go() -> None:
    taken = {"1000": 4, "1010": 4, "1020": 2}

    assert wait_for(taken, 0, 10, 1030.5) == 0
    assert wait_for(taken, 4, 10, 1030.5) == 30.5
    assert wait_for(taken, 5, 10, 1030.5) == 40.5
    assert wait_for(taken, 10, 10, 1030.5) == 50.5
    assert wait_for(taken, 11, 10, 1030.5) == inf


def test_a_clock_that_is_behind_frees_no_place_early_and_one_that_is_wrong_holds_nobody_up() -> None:
    assert with_more({"1000": 1}, 2, 990.0) == {"1000": 3}
    assert within({"1000": 1, "9000": 5}, 1001.0) == {"1000": 1}


def test_whoever_waits_as_told_is_never_more_than_the_limit_within_any_minute_and_uses_nearly_all_of_it() -> None:
    dice, most, now = Random(7), 100, 5000.25
    taken: Mapping[str, int] = {}
    calls: list[tuple[float, int]] = []
    while now < 5000 + 10 * WINDOW:
        queries = dice.choice((1, 1, 1, 4))
        taken = within(taken, now)
        if wait := wait_for(taken, queries, most, now):
            now += wait
            continue
        taken = with_more(taken, queries, now)
        calls.append((now, queries))
        now += dice.random() / 10

    for began, _ in calls:
        assert sum(queries for at, queries in calls if began <= at < began + WINDOW) <= most
    assert sum(queries for _, queries in calls) >= 0.9 * 10 * most
