"""Times of look-ups as counts in steps: what is counted where, and what is read from it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from api_service.services import latencies
from api_service.services.freshness import REFRESHING
from api_service.services.latencies import BOUNDS, IN_SECONDS, LONGER, Way, counted, quantile, way_of
from api_service.services.metrics import Times
from api_service.services.outcomes import Lookup, Outcome, Source


def test_a_time_is_in_the_first_step_that_is_not_shorter() -> None:
    assert counted([0.0, 0.0001, 0.00011, 0.3, 25.0, 25.1]) == {100: 2, 250: 1, 500_000: 1, 25_000_000: 1, LONGER: 1}
    assert counted([]) == {}


def test_every_bound_is_in_its_own_step_and_what_is_a_little_longer_in_the_next() -> None:
    assert counted(IN_SECONDS) == dict.fromkeys(BOUNDS, 1)
    assert counted(bound * 1.000001 for bound in IN_SECONDS) == dict.fromkeys((*BOUNDS[1:], LONGER), 1)


def test_prometheus_counts_the_same_times_in_the_same_steps() -> None:
    times = [0.00005, 0.0001, 0.0002, 0.004, 0.41, 7.5, 30.0]
    registry = CollectorRegistry()
    Times("t", "t", buckets=latencies.IN_SECONDS, registry=registry).observe_many(times)
    ours, total = counted(times), 0
    for bound, seconds in zip(BOUNDS, IN_SECONDS, strict=True):
        total += ours.get(bound, 0)
        assert registry.get_sample_value("t_bucket", {"le": str(seconds)}) == total, bound
    assert registry.get_sample_value("t_bucket", {"le": "+Inf"}) == total + ours[LONGER]


@pytest.mark.parametrize(
    ("counts", "part", "seconds"),
    [
        # Half of what lies between 100 and 250 µs, evenly
        ({250: 100}, 0.5, 0.000175),
        ({250: 100}, 1.0, 0.00025),
        # The first step begins at 0
        ({100: 10}, 0.5, 0.00005),
        # The bound itself, where a step ends just there
        ({250: 95, 1_000_000: 5}, 0.95, 0.00025),
        ({250: 94, 1_000_000: 6}, 0.95, 0.5 + 0.5 / 6),
        # Steps in which there is nothing do not matter
        ({250: 1, 500: 0, 1_000: 1}, 0.75, 0.00075),
        # Nobody knows how much longer
        ({LONGER: 3}, 0.5, 25.0),
        # A bound that an older version had
        ({250: 1, 300: 1}, 1.0, 0.0003),
    ],
)
def test_a_quantile_is_read_from_the_steps(counts: dict[int, int], part: float, seconds: float) -> None:
    assert quantile(counts, part) == pytest.approx(seconds)


@pytest.mark.parametrize("counts", [{}, {250: 0}])
def test_of_nothing_there_is_no_quantile(counts: dict[int, int]) -> None:
    assert quantile(counts, 0.5) is None


def test_quantiles_never_fall_as_the_part_grows() -> None:
    counts = {100: 7, 250: 1, 1_000: 30, 500_000: 2, LONGER: 1}
    found = [quantile(counts, part / 200) for part in range(1, 201)]
    assert found == sorted(found, key=lambda one: one or 0.0)


@pytest.mark.parametrize(
    ("found", "way"),
    [
        (Lookup(Outcome.HIT, Source.CACHE), Way.CACHE),
        (Lookup(Outcome.NEGATIVE, Source.CACHE), Way.CACHE),
        (Lookup(Outcome.STALE, Source.CACHE, stale_because=REFRESHING), Way.CACHE),
        (Lookup(Outcome.MISS, Source.STORE), Way.STORE),
        (Lookup(Outcome.MISS, Source.UPSTREAM), Way.UPSTREAM),
        (Lookup(Outcome.OUTAGE, Source.UPSTREAM), Way.UPSTREAM),
        # Quickly found at last, but after the time that the failure took
        (Lookup(Outcome.MISS, Source.CACHE, stale_because="upstream_timeout"), Way.FAILED),
        (Lookup(Outcome.OUTAGE, Source.STORE, stale_because="upstream_timeout"), Way.FAILED),
        (Lookup(Outcome.NEGATIVE, Source.VALIDATION), None),
    ],
)
def test_a_look_up_is_timed_by_where_its_answer_came_from(found: Lookup, way: Way | None) -> None:
    assert way_of(found) is way
