from itertools import pairwise

import pytest

from api_service.services import warm_policy as policy
from api_service.services.warm_policy import BINS, DAY, SLOT, SLOTS_A_DAY, WEEK, Calibration

MONDAY = 4 * DAY  # 1970-01-05
EIGHT = 8 * 3600


def rates(*values: float) -> list[float]:
    return list(values)


def test_weekdays_share_their_bins_and_weekends_have_their_own() -> None:
    monday, friday, saturday = (policy.bin_of(policy.slot_of(MONDAY + day * DAY + EIGHT)) for day in (0, 4, 5))
    assert monday == friday == 16
    assert saturday == 16 + SLOTS_A_DAY


def test_the_week_begins_on_monday_and_comes_again() -> None:
    assert policy.week_slot(policy.slot_of(MONDAY)) == 0
    assert policy.week_slot(policy.slot_of(MONDAY - 1)) == WEEK - 1
    assert policy.week_slot(policy.slot_of(MONDAY + 7 * DAY + SLOT)) == 1


def test_a_visit_of_yesterday_counts_less_than_one_of_today_by_the_decay() -> None:
    assert policy.unit(20_100) / policy.unit(20_101) == pytest.approx(policy.DECAY_A_DAY)
    assert policy.unit(policy.EPOCH_DAY) == 1


def test_a_bin_was_seen_as_often_as_its_days_have_passed_older_ones_counting_less() -> None:
    first = policy.slot_of(MONDAY)
    seen = policy.times_seen(first, first + 2 * SLOTS_A_DAY + 10)
    decay = policy.DECAY_A_DAY
    assert seen[0] == pytest.approx(1 + decay + decay**2)
    assert seen[10] == pytest.approx(decay + decay**2)
    assert seen[SLOTS_A_DAY:] == [0.0] * SLOTS_A_DAY
    assert len(seen) == BINS


def test_on_the_first_day_only_what_has_passed_of_it_was_seen() -> None:
    first = policy.slot_of(MONDAY + EIGHT)
    assert sum(policy.times_seen(first, first)) == 0
    assert sum(policy.times_seen(first, first + 3)) == pytest.approx(3)


def test_the_profile_is_even_without_traffic_and_has_the_mean_one_with_much_of_it() -> None:
    first = policy.slot_of(MONDAY)
    assert policy.profile([0.0] * WEEK, first, first) == [1.0] * WEEK
    reads = [0.0] * WEEK
    reads[16] = 3360.0
    found = policy.profile(reads, first, first + 10 * WEEK)
    assert found[16] == pytest.approx(max(found))
    assert found[16] > 100 * found[17]


def test_a_time_of_the_week_that_was_never_seen_leans_on_the_same_time_of_its_kind_of_day() -> None:
    first = policy.slot_of(MONDAY)
    reads = [0.0] * WEEK
    reads[16] = 100.0
    found = policy.profile(reads, first, first + SLOTS_A_DAY)
    tuesday_at_eight, tuesday_at_nine = found[SLOTS_A_DAY + 16], found[SLOTS_A_DAY + 18]
    assert tuesday_at_eight > 10 * tuesday_at_nine


def test_what_lies_between_two_times_is_shared_out_in_full() -> None:
    for start, end in ((0.5 * SLOT, 0.5 * SLOT), (SLOT, 2 * SLOT), (100.0, 3700.0), (1_799.0, 1_801.0)):
        assert sum(policy.covered(start, end).values()) == pytest.approx((end - start) / SLOT)


def test_between_the_middles_of_two_slots_both_have_half_of_it() -> None:
    assert policy.covered(10.5 * SLOT, 11.5 * SLOT) == pytest.approx({10: 0.5, 11: 0.5})


def test_reads_before_the_next_run_are_worth_more_than_the_same_ones_later() -> None:
    weights = policy.weights(0, SLOT, SLOT, 300, 3600)
    early, late = rates(0, 0.4, 0, 0, 0), rates(0, 0, 0.4, 0, 0)
    assert weights.worth(early) > weights.worth(late) > 0


def test_a_key_that_is_sure_to_be_read_at_once_is_worth_one_miss_and_never_more() -> None:
    weights = policy.weights(0, SLOT, SLOT, 300, 3600)
    assert weights.worth(rates(*[500.0] * 5)) == pytest.approx(1.0)
    assert weights.worth(rates(*[0.0] * 5)) == 0


def test_a_record_that_is_still_fresh_for_a_while_gains_less_than_an_absent_one() -> None:
    now, even = float(SLOT), rates(*[0.3] * 5)
    absent = policy.weights(0, now, now, 300, 3600)
    ending = policy.weights(0, now + 200, now, 300, 3600)
    assert absent.expected(even) == pytest.approx(0.3 * 3600 / SLOT)
    assert ending.expected(even) == pytest.approx(0.3 * 3400 / SLOT)
    assert absent.worth(even) > ending.worth(even)


def test_no_run_of_a_slot_is_worth_more_than_was_promised_for_it() -> None:
    most = policy.urgency_at_most(0, 5, 300, 3600)
    for values in (rates(0, 1, 0, 0, 0), rates(0.1, 0.2, 0.3, 0.2, 0.1), rates(3, 0, 0, 0, 2)):
        bound = sum(weight * value for weight, value in zip(most, values, strict=True))
        for now in range(SLOT, 2 * SLOT, 300):
            assert policy.weights(0, now, now, 300, 3600).worth(values) <= bound


def test_own_visits_outweigh_the_rate_once_their_hour_was_seen_often() -> None:
    seldom, often = (policy.Season([times] * BINS, [1.0] * WEEK).weights(0, policy.EPOCH_DAY) for times in (1, 200))
    assert seldom.own * 1 < seldom.prior
    assert often.own * 200 > often.prior


def test_a_rate_is_right_from_the_first_day_on() -> None:
    """One visit each six hours gives about two a slot of a day, whatever has been watched."""
    every = 6 * 3600.0
    for days in (2, 30):
        times = [number * every for number in range(int(days * DAY / every))]
        end = days * DAY
        slow = sum(policy.halved(end - at, policy.SLOW_HALF_LIFE) for at in times)
        fast = sum(policy.halved(end - at, policy.FAST_HALF_LIFE) for at in times)
        level = policy.level(end)
        assert level.fast * fast + level.slow * slow == pytest.approx(SLOT / every, rel=0.25)


def test_what_a_class_of_keys_did_sets_its_expectations_right_and_no_other() -> None:
    calibration = Calibration()
    gone, here = Calibration.cell(9.0, 0.3), Calibration.cell(0.3, 0.3)
    assert gone != here
    for _ in range(1000):
        calibration.learn(gone, 1.0, 0.0)
    factors = calibration.factors()
    assert factors[gone] < 0.05
    assert factors[here] == 1


def test_what_was_learned_fades() -> None:
    calibration, cell = Calibration(), Calibration.cell(0.3, 0.3)
    calibration.learn(cell, 1000.0, 0.0)
    told = []
    for _ in range(3):
        told.append(calibration.factors()[cell])
        calibration.fade()
    assert all(earlier < later < 1 for earlier, later in pairwise(told))
