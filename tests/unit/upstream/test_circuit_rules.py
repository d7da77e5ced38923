from dataclasses import replace

import pytest

from api_service.services.circuit_rules import (
    Circuit,
    Rules,
    Seen,
    State,
    after,
    may_probe,
    must_probe,
    refused_for,
    seen_of,
    stricter,
    together,
    with_probe,
    without_probe,
)
from api_service.services.errors import (
    UpstreamAuthRefused,
    UpstreamBadAnswer,
    UpstreamCircuitOpen,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotAsked,
    UpstreamNotOffered,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamServerError,
    UpstreamTimeout,
    UpstreamUnreachable,
)

NOW = 1_000_000.0
RULES = Rules(failures=3, window=10.0, open_seconds=30.0, probes=2, probe_seconds=20.0)
FAILED = Seen(failed=1, reason="upstream_timeout: no answer in time")
ANSWERED = Seen(answered=1)
OPEN = Circuit(State.OPEN, open_until=NOW + 30, reason="upstream_timeout")


def told(*seen: Seen, circuit: Circuit | None = None, now: float = NOW) -> Circuit:
    circuit = circuit or Circuit()
    for one in seen:
        circuit = after(circuit, one, "", now, RULES)
    return circuit


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (UpstreamTimeout("x"), True),
        (UpstreamUnreachable("x"), True),
        (UpstreamServerError("x", status=503), True),
        (UpstreamRateLimited("x", status=429), True),
        (UpstreamBadAnswer("the answer broke off", of_service=True), True),
        (UpstreamBadAnswer("the record of another number than asked for"), False),
        (UpstreamAuthRefused("x", status=401), False),
        (UpstreamMalformed("x"), False),
        (UpstreamRefused("x"), False),
        (UpstreamNotOffered("x"), False),
        (UpstreamNotAsked("x"), False),
        (UpstreamCircuitOpen("x"), False),
        (None, False),
    ],
)
def test_only_the_services_own_trouble_counts(error: UpstreamError | None, counts: bool) -> None:
    assert bool(seen_of(error).failed) is counts


def test_failures_within_the_window_open_it_and_it_says_why_and_for_how_long() -> None:
    assert told(FAILED, FAILED).state is State.CLOSED
    opened = told(FAILED, FAILED, FAILED)

    assert (opened.state, opened.open_until, opened.reason) == (State.OPEN, NOW + 30, FAILED.reason)
    assert refused_for(opened, NOW + 10) == 20.0
    assert not must_probe(opened, NOW + 29)
    assert (refused_for(opened, NOW + 30), must_probe(opened, NOW + 30)) == (0.0, True)


def test_failures_of_an_earlier_window_do_not_count() -> None:
    earlier = told(FAILED, FAILED)

    assert told(FAILED, FAILED, circuit=earlier, now=NOW + 11).state is State.CLOSED


def test_a_few_failures_of_a_busy_service_are_no_outage() -> None:
    busy = told(Seen(answered=4), FAILED, FAILED, FAILED)

    assert busy.state is State.CLOSED
    assert told(FAILED, circuit=busy).state is State.OPEN


def test_a_service_that_asks_for_a_pause_gets_it_at_once_and_no_longer_than_ten_minutes() -> None:
    paused = told(seen_of(UpstreamRateLimited("x", retry_after=7.0)))
    hostile = told(seen_of(UpstreamRateLimited("x", retry_after=86_400.0)))

    assert (paused.state, paused.open_until) == (State.OPEN, NOW + 7)
    assert hostile.open_until == NOW + 600
    assert told(Seen(failed=1, pause=1.0), circuit=paused).open_until == NOW + 7
    assert told(seen_of(UpstreamServerError("x", status=503, retry_after=7.0))).state is State.CLOSED


def test_no_more_probes_than_allowed_are_under_way() -> None:
    due = NOW + 30
    one = with_probe(OPEN, "a", due, RULES)
    assert one is not None
    assert one.state is State.HALF_OPEN
    two = with_probe(one, "b", due, RULES)
    assert two is not None

    assert not may_probe(two, due, RULES)
    assert with_probe(two, "c", due, RULES) is None
    assert with_probe(OPEN, "a", due - 1, RULES) is None
    assert with_probe(Circuit(), "a", due, RULES) is None


def test_a_probe_that_died_or_was_given_back_frees_its_place() -> None:
    full = replace(OPEN, state=State.HALF_OPEN, open_until=NOW, probes={"a": NOW + 20, "b": NOW + 20})

    assert not may_probe(full, NOW + 19, RULES)
    revived = with_probe(full, "c", NOW + 20, RULES)
    assert revived is not None
    assert set(revived.probes) == {"c"}
    assert may_probe(without_probe(full, "a"), NOW, RULES)


def test_a_probe_decides_and_the_calls_of_before_do_not() -> None:
    half = replace(OPEN, state=State.HALF_OPEN, open_until=NOW, probes={"a": NOW + 20})

    assert after(half, ANSWERED, "a", NOW, RULES) == Circuit()
    reopened = after(half, FAILED, "a", NOW, RULES)
    assert (reopened.state, reopened.open_until, reopened.probes) == (State.OPEN, NOW + 30, {})
    assert told(ANSWERED, FAILED, circuit=half) == half
    assert told(ANSWERED, FAILED, circuit=OPEN) == OPEN
    assert after(half, ANSWERED, "too late", NOW, RULES) == half


def test_several_attempts_are_told_at_once() -> None:
    seen = together([ANSWERED, FAILED, Seen(failed=1, pause=5.0, reason="429"), ANSWERED])

    assert seen == Seen(answered=2, failed=2, pause=5.0, reason="429")
    assert together([]) == Seen()


def test_what_keeps_away_longer_is_the_stricter() -> None:
    assert stricter(Circuit(), OPEN) is OPEN
    assert stricter(OPEN, Circuit()) is OPEN
