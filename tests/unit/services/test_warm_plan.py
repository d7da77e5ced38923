import pytest

from api_service.services.warm_plan import Cached, Candidate, Moment, Rules, jittered, pauses, plan
from api_service.services.warm_policy import SLOT
from api_service.services.warm_results import Experience, calibration

NOW = 1_795_362_600.0
SLOTS = 8
MOMENT = Moment(now=NOW, wall=-18_000.0, first=int((NOW - 18_000) // SLOT) - 1, period=300, lead=600, life=3600)


def candidate(ruc: str, rate: float) -> Candidate:
    """`rate` in reads a slot, at all times."""
    return Candidate(ruc, [rate] * SLOTS)


A, B, C = (candidate(name, rate) for name, rate in (("a", 0.5), ("b", 0.9), ("c", 0.5)))


def due(
    candidates: list[Candidate],
    answers: dict[str, float],
    negatives: dict[str, float] | None = None,
    rules: Rules | None = None,
) -> tuple[list[str], dict[str, int]]:
    planned = plan(candidates, Cached(answers, negatives or {}), MOMENT, rules or Rules(10))
    return [one.ruc for one in planned.due], dict(planned.skipped)


def test_the_most_expected_come_first_and_equals_in_a_fixed_order() -> None:
    assert due([C, A, B], {}) == (["b", "a", "c"], {})


def test_who_misses_now_comes_before_who_is_served_for_a_while() -> None:
    assert due([A, B], {"b": NOW + 590}) == (["a", "b"], {})


def test_what_outlives_the_lead_is_fresh_and_what_ends_within_it_is_due() -> None:
    assert due([A, B], {"a": NOW + 600.1, "b": NOW + 600}) == (["b"], {"fresh": 1})
    assert due([A], {"a": NOW - 5}) == (["a"], {})


def test_below_the_break_even_nobody_is_paid_for() -> None:
    """Two slots of 0.5 reads each are one read expected in the life of an answer."""
    assert due([A, B], {}, rules=Rules(10, break_even=1.01)) == (["b"], {"below_break_even": 1})
    assert due([A], {}, rules=Rules(10, break_even=0.99)) == (["a"], {})
    assert due([A], {"a": NOW + 590}, rules=Rules(10, break_even=0.99)) == ([], {"below_break_even": 1})


def test_the_chance_is_that_of_at_least_one_read() -> None:
    [one] = plan([A], Cached({}, {}), MOMENT, Rules(10)).due
    assert one.chance == pytest.approx(0.632, abs=0.001)


def test_a_named_ruc_needs_no_reason_and_comes_first() -> None:
    assert due([A, Candidate("z")], {}, rules=Rules(10, break_even=0.5)) == (["z", "a"], {})
    assert due([Candidate("z")], {"z": NOW + 700}) == ([], {"fresh": 1})


def test_the_limit_counts_what_is_refreshed_not_what_is_looked_at() -> None:
    assert due([A, B, C], {"b": NOW + 9999}, rules=Rules(1)) == (["a"], {"fresh": 1, "over_limit": 1})
    assert due([A, B], {}, rules=Rules(0)) == ([], {"over_limit": 2})


def test_a_ruc_known_not_to_exist_is_asked_for_again_when_that_ends_and_within_its_share() -> None:
    assert due([A, B], {"a": NOW - 5}, {"a": NOW + 700}) == (["b"], {"known_invalid": 1})
    assert due([A, B], {}, {"a": NOW + 60, "b": NOW + 60}, Rules(10, recheck_share=0.1)) == (["b"], {"over_recheck": 1})


def test_no_candidates_no_plan() -> None:
    assert due([], {"a": NOW}) == ([], {})


@pytest.mark.parametrize("draw", [0.0, 0.25, 0.5, 0.999_999])
def test_a_spread_life_is_shorter_by_a_tenth_at_most_and_never_longer(draw: float) -> None:
    assert 3240 < jittered(3600, draw) <= 3600
    assert jittered(3600, 0.0) == 3600
    assert jittered(3600, draw) == pytest.approx(3600 - 360 * draw)


def test_steps_are_spread_evenly_and_one_alone_waits_for_nothing() -> None:
    assert [pauses(number, 90) for number in (0, 1, 3)] == [0, 0, 30]


@pytest.mark.parametrize(
    ("seen", "factor"),
    [
        (Experience(), 1.0),
        (Experience(10, 5.0, 0), 0.952),
        (Experience(1000, 500.0, 500), 1.0),
        (Experience(1000, 500.0, 250), 0.583),
        (Experience(100_000, 50_000.0, 0), 0.25),
        (Experience(100_000, 5_000.0, 100_000), 4.0),
    ],
)
def test_what_was_read_corrects_what_is_expected_the_more_the_more_was_seen(seen: Experience, factor: float) -> None:
    assert calibration(seen) == pytest.approx(factor, abs=0.001)
