"""When a verdict is news."""

import pytest

from api_service.services.health_rules import Severity
from workers.alerts.rules import Change, Event, OpenIncident, Trouble, decide

HEALTHY, WARNING, UNHEALTHY = Severity.HEALTHY, Severity.WARNING, Severity.UNHEALTHY
SLOW = Trouble("node_slow", "a:1", WARNING)
A_DOWN = Trouble("node_down", "a:1", UNHEALTHY)
B_DOWN = Trouble("node_down", "b:1", UNHEALTHY)


def incident(severity: Severity, *troubles: Trouble) -> OpenIncident:
    return OpenIncident(severity, frozenset(troubles))


def test_a_healthy_cache_without_an_incident_is_no_news() -> None:
    assert decide(None, HEALTHY, []) is None


@pytest.mark.parametrize("status", [WARNING, UNHEALTHY])
def test_the_first_trouble_opens_an_incident(status: Severity) -> None:
    change = decide(None, status, [SLOW])
    assert change == Change(Event.OPENED, status, HEALTHY)
    assert change.is_told


@pytest.mark.parametrize("trouble", [SLOW, A_DOWN])
def test_the_same_trouble_again_is_no_news(trouble: Trouble) -> None:
    assert decide(incident(trouble.severity, trouble), trouble.severity, [trouble]) is None


def test_a_higher_severity_is_told() -> None:
    assert decide(incident(WARNING, SLOW), UNHEALTHY, [A_DOWN]) == Change(Event.WORSE, UNHEALTHY, WARNING)


def test_a_second_node_that_dies_is_told_though_the_severity_stays() -> None:
    assert decide(incident(UNHEALTHY, A_DOWN), UNHEALTHY, [A_DOWN, B_DOWN]) == Change(Event.WORSE, UNHEALTHY, UNHEALTHY)


def test_one_more_warning_changes_the_incident_and_is_not_told() -> None:
    change = decide(incident(UNHEALTHY, A_DOWN), UNHEALTHY, [A_DOWN, SLOW])
    assert change == Change(Event.CHANGED, UNHEALTHY, UNHEALTHY)
    assert not change.is_told


def test_getting_better_without_being_healthy_is_not_told() -> None:
    change = decide(incident(UNHEALTHY, A_DOWN), WARNING, [SLOW])
    assert change == Change(Event.CHANGED, WARNING, UNHEALTHY)
    assert not change.is_told


def test_a_relapse_after_getting_better_is_told_again() -> None:
    assert decide(incident(WARNING, SLOW), UNHEALTHY, [A_DOWN, SLOW]) == Change(Event.WORSE, UNHEALTHY, WARNING)


def test_a_second_node_that_comes_back_while_the_first_is_down_is_not_told() -> None:
    change = decide(incident(UNHEALTHY, A_DOWN, B_DOWN), UNHEALTHY, [A_DOWN])
    assert change == Change(Event.CHANGED, UNHEALTHY, UNHEALTHY)


@pytest.mark.parametrize("severity", [WARNING, UNHEALTHY])
def test_a_healthy_verdict_ends_the_incident(severity: Severity) -> None:
    change = decide(incident(severity, SLOW), HEALTHY, [])
    assert change == Change(Event.RECOVERED, HEALTHY, severity)
    assert change.is_told


def test_deciding_twice_from_the_same_facts_gives_the_same_answer() -> None:
    before = incident(WARNING, SLOW)
    assert decide(before, UNHEALTHY, [A_DOWN]) == decide(before, UNHEALTHY, [A_DOWN])
    assert before == incident(WARNING, SLOW)
