from dataclasses import replace
from datetime import UTC, datetime

from api_service.services.health_rules import Finding, Severity, verdict, worst_first

SLOW = Finding("node_slow", Severity.WARNING, "a", 99.0, 50.0)
DOWN = Finding("node_down", Severity.UNHEALTHY, "b", "refused")


def test_nothing_found_is_healthy() -> None:
    assert verdict([]) is Severity.HEALTHY


def test_the_worst_comes_first_and_makes_the_verdict() -> None:
    assert worst_first([SLOW, DOWN]) == [DOWN, SLOW]
    assert verdict([SLOW, DOWN]) is Severity.UNHEALTHY
    assert verdict([SLOW]) is Severity.WARNING


def test_what_does_not_count_yet_is_no_part_of_the_verdict() -> None:
    assert verdict([SLOW, replace(DOWN, counts=False)]) is Severity.WARNING


def test_a_finding_is_plain_json() -> None:
    since = datetime(2026, 11, 26, 6, 0, tzinfo=UTC)

    assert replace(SLOW, since=since).as_json() == {
        "code": "node_slow",
        "severity": "warning",
        "node": "a",
        "value": 99.0,
        "limit": 50.0,
        "since": "2026-11-26T06:00:00+00:00",
        "counts": True,
    }
