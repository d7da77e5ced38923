from dataclasses import replace

import pytest

from api_service.services.node_facts import (
    Gets,
    NodeFacts,
    OwnReads,
    Since,
    gets_since,
    increase,
    restarted,
    with_rates,
)

NODE = "10.0.0.1:11211"
FINE = NodeFacts(
    NODE, reachable=True, pid=7, booted_at=1000.0, evictions=100, expired_unfetched=50, hits=1000, misses=100
)
DOWN = NodeFacts(NODE, reachable=False, error="ConnectionRefusedError: [Errno 111] Connection refused")
FIVE_MINUTES_AGO = Since(FINE, 300)


def rates(facts: NodeFacts) -> tuple[float | None, float | None, float | None]:
    return facts.hit_ratio, facts.evictions_per_minute, facts.expired_unfetched_per_minute


@pytest.mark.parametrize(
    ("now", "before", "seen"),
    [
        (replace(FINE, pid=8), FINE, True),
        (replace(FINE, booted_at=1003.1), FINE, True),
        (replace(FINE, booted_at=1003.0), FINE, False),
        (FINE, FINE, False),
        (FINE, None, False),
        (DOWN, FINE, False),
        (replace(FINE, pid=8), DOWN, False),
        (replace(FINE, booted_at=None), FINE, False),
    ],
    ids=["another pid", "booted later", "clock jitter", "the same", "first", "down now", "down before", "no boot time"],
)
def test_a_restart_is_another_pid_or_a_later_boot_between_two_readings(
    now: NodeFacts, before: NodeFacts | None, seen: bool
) -> None:
    assert restarted(now, before) is seen


def test_rates_are_of_the_time_since_the_previous_run() -> None:
    now = replace(FINE, evictions=700, expired_unfetched=80, hits=1035, misses=110)

    assert rates(with_rates(now, FIVE_MINUTES_AGO, own_hits=5)) == (0.75, 120.0, 6.0)


@pytest.mark.parametrize(
    ("now", "since"),
    [
        (FINE, None),
        (FINE, Since(FINE, 0)),
        (FINE, Since(DOWN, 300)),
        (DOWN, FIVE_MINUTES_AGO),
        (replace(FINE, pid=8, hits=30), FIVE_MINUTES_AGO),
        (replace(FINE, booted_at=1200.0), FIVE_MINUTES_AGO),
    ],
    ids=["first run", "no time between", "down before", "down now", "another process", "booted since"],
)
def test_there_is_no_rate_where_the_counters_do_not_go_on(now: NodeFacts, since: Since | None) -> None:
    assert rates(with_rates(now, since)) == (None, None, None)


def test_a_counter_that_was_set_back_has_no_rate_and_the_others_have() -> None:
    now = replace(FINE, hits=10, misses=200, evictions=0, expired_unfetched=50)

    assert rates(with_rates(now, FIVE_MINUTES_AGO)) == (None, None, 0.0)


@pytest.mark.parametrize(
    ("own", "hits"),
    [
        ((), 500),
        ((OwnReads(1100, 1350, 200),), 300),
        ((OwnReads(1100, 1200, 100), OwnReads(1300, 1400, 50)), 350),
        # As far as the node had counted when the two were read
        ((OwnReads(100, 1000, 700), OwnReads(1500, 1600, 100)), 500),
        ((OwnReads(100, 1000, None), OwnReads(1500, None, None)), 500),
        ((OwnReads(1000, 1500, 500),), 0),
    ],
    ids=["none", "one", "two", "before and after", "before and not begun", "nothing else"],
)
def test_hits_that_are_an_operations_own_are_left_out(own: tuple[OwnReads, ...], hits: int) -> None:
    """The node counted from 1000 to 1500."""
    now, since = replace(FINE, hits=1500, misses=200), Since(FINE, 300, own)
    assert gets_since(now, since) == Gets(hits, 100)
    assert with_rates(now, since).hit_ratio == round(hits / (hits + 100), 4)


def test_misses_that_are_an_operations_own_are_left_out() -> None:
    now = replace(FINE, hits=1500, misses=700)
    own = (OwnReads(100, 1000, 50, 900), OwnReads(1100, 1300, 200, 300), OwnReads(1300, 1302, 2, 100))
    since = Since(FINE, 300, own)
    assert gets_since(now, since) == Gets(298, 200)
    assert with_rates(now, since).hit_ratio == round(298 / 498, 4)


@pytest.mark.parametrize(
    "amid",
    [
        OwnReads(900, 1200, 200),
        OwnReads(1400, 2000, 300),
        OwnReads(900, 2000, 800),
        OwnReads(1100, None, None),
        OwnReads(900, None, None),
        OwnReads(1100, 1200, None),
        OwnReads(None, 1200, 80),
        OwnReads(9000, 300, 200),
        OwnReads(1100, 1200, 101),
    ],
    ids=["before", "now", "both", "goes on", "went on", "interrupted", "node away", "node booted", "booted young"],
)
def test_there_is_no_ratio_where_nobody_knows_how_many_of_the_hits_an_operation_made(amid: OwnReads) -> None:
    now, since = replace(FINE, hits=1500, misses=200), Since(FINE, 300, (OwnReads(1001, 1002, 1), amid))
    assert gets_since(now, since) is None
    assert rates(with_rates(now, since))[:2] == (None, 0.0)


def test_an_idle_node_has_no_hit_ratio_whatever_the_probe_itself_asked() -> None:
    assert with_rates(replace(FINE, hits=1005), FIVE_MINUTES_AGO, own_hits=5).hit_ratio is None
    own = {"own_hits": 5, "own_gets": 2}
    assert with_rates(replace(FINE, hits=1006, misses=101), FIVE_MINUTES_AGO, **own).hit_ratio is None
    assert with_rates(replace(FINE, hits=1005, misses=103), FIVE_MINUTES_AGO, **own).hit_ratio == 0.0


@pytest.mark.parametrize(
    ("now", "before", "more"), [(7, 5, 2), (5, 5, 0), (4, 5, None), (None, 5, None), (5, None, None)]
)
def test_a_counter_only_ever_grows(now: int | None, before: int | None, more: int | None) -> None:
    assert increase(now, before) == more
