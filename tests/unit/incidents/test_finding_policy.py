"""N of M before a finding counts, K good runs before it is over."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from api_service.services.finding_policy import (
    DEFAULT,
    HISTORY,
    TABLE,
    Policy,
    State,
    is_doubtful,
    is_forgotten,
    is_lapsed,
    lapsed,
    parse_rules,
    policy_of,
    step,
)
from api_service.services.health_rules import Finding, Severity

START = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)
PERIOD = timedelta(minutes=5)
SPACING = PERIOD / 2
DOWN = Finding("node_down", Severity.UNHEALTHY, "n1", "refused")


def run(signs: str, policy: Policy, *, every: timedelta = PERIOD) -> Iterator[State]:
    """The state after each run; "1" is a run that saw the finding."""
    state = State()
    for number, sign in enumerate(signs):
        state = step(state, DOWN if sign == "1" else None, START + number * every, policy, SPACING)
        yield state


def counts(signs: str, policy: Policy) -> str:
    return "".join("1" if state.counts else "0" for state in run(signs, policy))


@pytest.mark.parametrize(
    ("policy", "seen", "counting"),
    [
        # 2 of 3, over after 2: one lost probe is nothing, nor is one good answer
        (Policy(2, 3, 2), "0100", "0000"),
        (Policy(2, 3, 2), "1100", "0110"),
        (Policy(2, 3, 2), "1010011", "0011001"),
        (Policy(2, 3, 2), "1001", "0000"),
        (Policy(2, 3, 2), "110101100", "011111110"),
        # An event
        (Policy(1, 1, 1), "0101100", "0101100"),
        # A measured value
        (Policy(3, 5, 3), "101010", "000011"),
        (Policy(3, 5, 3), "1110010001", "0011111100"),
        # What made it count does not make it count again
        (Policy(2, 5, 1), "1100010", "0100000"),
        (Policy(2, 5, 1), "11010", "01000"),
    ],
)
def test_it_counts_after_n_of_m_bad_runs_and_is_over_after_k_good_ones(
    policy: Policy, seen: str, counting: str
) -> None:
    assert counts(seen, policy) == counting


def test_every_short_history_keeps_the_promise_of_its_policy() -> None:
    """Against the definition, run by run, for every history of ten runs and several policies."""
    for policy in (Policy(1, 1, 1), Policy(2, 3, 2), Policy(3, 5, 3), Policy(2, 2, 1)):
        for signs in map("".join, product("01", repeat=10)):
            state, since_change, counting = State(), "", False
            for number, sign in enumerate(signs):
                state = step(state, DOWN if sign == "1" else None, START + number * PERIOD, policy, SPACING)
                since_change += sign
                bad = since_change[-policy.of :].count("1") >= policy.bad
                over = since_change[-policy.good :] == "0" * policy.good
                if over if counting else bad:
                    counting, since_change = not counting, ""
                assert state.counts is counting, (policy, signs, number)


@pytest.mark.parametrize(
    ("signs", "since"),
    [("011", 1), ("101", 0), ("1001", 3), ("10011", 3), ("0100", None), ("1100", None), ("11010", 0), ("1100011", 5)],
)
def test_since_is_the_first_bad_run_of_the_present_trouble(signs: str, since: int | None) -> None:
    *_, last = run(signs, Policy(2, 3, 2))
    assert last.since == (None if since is None else START + since * PERIOD)


def test_what_was_measured_last_is_kept_while_it_counts() -> None:
    slow = Finding("node_slow", Severity.WARNING, "n1", 80.0, 50.0)
    state = step(State(), slow, START, Policy(1, 1, 2), SPACING)
    state = step(state, Finding("node_slow", Severity.UNHEALTHY, "n1", 900.0, 50.0), START + PERIOD, DEFAULT, SPACING)
    state = step(state, None, START + 2 * PERIOD, DEFAULT, SPACING)
    assert (state.counts, state.severity, state.value, state.limit) == (True, Severity.UNHEALTHY, 900.0, 50.0)


def test_runs_in_quick_succession_are_one_sign_of_a_measured_value() -> None:
    sustained, quick = Policy(3, 5, 3), Policy(3, 5, 3, quick=True)
    *_, last = run("1111111", sustained, every=timedelta(seconds=20))
    assert (last.recent, last.counts) == ("1", False)
    *_, last = run("111", quick, every=timedelta(seconds=20))
    assert last.counts


def test_an_event_is_not_swallowed_by_the_run_before_it() -> None:
    event = Policy(1, 1, 1)
    state = step(State(), DOWN, START, event, SPACING)
    state = step(state, None, START + PERIOD, event, SPACING)
    state = step(state, DOWN, START + PERIOD + timedelta(seconds=20), event, SPACING)
    assert state.counts
    # And the next quick run does not end it: the schedule's does
    assert step(state, None, START + PERIOD + timedelta(seconds=40), event, SPACING).counts
    assert not step(state, None, START + 2 * PERIOD + timedelta(seconds=20), event, SPACING).counts


@pytest.mark.parametrize(
    ("signs", "doubtful"), [("", False), ("0", False), ("1", True), ("10", False), ("11", False), ("110", True)]
)
def test_a_run_that_contradicts_the_state_wants_another_one(signs: str, doubtful: bool) -> None:
    states = list(run(signs, Policy(2, 3, 2, quick=True)))
    assert is_doubtful(states[-1] if states else State(), Policy(2, 3, 2, quick=True)) is doubtful
    assert not is_doubtful(states[-1] if states else State(), Policy(2, 3, 2))


def test_each_change_is_remembered_and_not_more_than_twenty() -> None:
    *_, last = run("1100" * 15, Policy(2, 3, 2))
    assert len(last.changes) == 20
    assert last.changes[-1] == (START + 59 * PERIOD).timestamp()


def test_a_state_is_forgotten_once_it_is_good_and_its_changes_are_old() -> None:
    policy, hour = Policy(2, 3, 2), timedelta(hours=1)
    *_, pending = run("10", policy)
    assert not is_forgotten(pending, START, hour)
    *_, counting = run("11", policy)
    assert not is_forgotten(counting, START + 10 * hour, hour)
    *_, over = run("1100", policy)
    assert not is_forgotten(over, START + timedelta(minutes=30), hour)
    assert is_forgotten(over, START + 2 * hour, hour)
    *_, never = run("1000", policy)
    assert is_forgotten(never, START + timedelta(minutes=30), hour)


# -- the table and the setting ---------------------------------------------------------------------------------------


def test_every_policy_of_the_table_can_be_met() -> None:
    for code, policy in {**TABLE, "": DEFAULT}.items():
        assert 1 <= policy.bad <= policy.of <= HISTORY, code
        assert 1 <= policy.good <= HISTORY, code


def test_a_setting_changes_the_numbers_and_leaves_the_rest() -> None:
    changed = parse_rules(" node_down=3/4/5, node_slow=1/1/1,")
    assert policy_of("node_down", changed) == Policy(3, 4, 5, quick=True)
    assert policy_of("node_slow", changed) == Policy(1, 1, 1)
    assert policy_of("evictions_high", changed) == TABLE["evictions_high"]
    assert policy_of("of_tomorrow", changed) == DEFAULT
    assert parse_rules("") == {}


@pytest.mark.parametrize(
    "text",
    [
        "node_down",
        "node_down=2/3",
        "node_down=4/3/1",
        "node_down=0/3/1",
        "node_down=2/3/0",
        "node_slow=1/99/1",
        "X=1/1/1",
        "of_tomorrow=1/1/1",
    ],
)
def test_a_wrong_rule_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_rules(f"node_slow=3/5/3, {text}")


def test_what_needs_traffic_lapses_once_nobody_has_judged_it_for_long() -> None:
    policy, after = Policy(1, 1, 1, lapses=True), timedelta(hours=12)
    (state,) = run("1", policy)
    end = START + after

    assert not is_lapsed(state, end - timedelta(seconds=1), policy, after)
    assert is_lapsed(state, end, policy, after)
    assert not lapsed(state, end).counts
    # What does not count, what needs no traffic, and a time of 0
    assert not is_lapsed(lapsed(state, end), end, policy, after)
    assert not is_lapsed(state, end, Policy(1, 1, 1), after)
    assert not is_lapsed(state, end, policy, timedelta(0))


def test_only_what_needs_traffic_lapses() -> None:
    """A node that is down for a day says nothing of its memory: that incident stays."""
    assert {code for code, policy in TABLE.items() if policy.lapses} == {"hit_ratio_low"}
