"""What a run makes of an incident, when it flaps, and what time alone does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from api_service.services.health_rules import RANK, Severity
from api_service.services.incident_facts import Event
from api_service.services.incident_rules import Change, Known, Limits, Standing, due, flaps, is_flapping, judge

NOW = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)
HEALTHY, WARNING, UNHEALTHY = Severity.HEALTHY, Severity.WARNING, Severity.UNHEALTHY
LIMITS = Limits(
    flap_changes=4,
    flap_window=timedelta(minutes=60),
    flap_quiet=timedelta(minutes=30),
    remind_unhealthy=timedelta(hours=6),
    remind_warning=timedelta(hours=24),
    escalate_after=timedelta(minutes=30),
)


# -- a run -----------------------------------------------------------------------------------------------------------


def events(known: Known | None, severity: Severity, *, flapping: bool = False) -> list[str]:
    return [f"{one.event}{' (damped)' * one.is_damped}" for one in judge(known, severity, flapping=flapping)]


OPEN_WARNING = Known(worst=WARNING, current=WARNING)
OPEN_UNHEALTHY = Known(worst=UNHEALTHY, current=UNHEALTHY)
BETTER_BY_NOW = Known(worst=UNHEALTHY, current=WARNING)


@pytest.mark.parametrize(
    ("known", "severity", "steps"),
    [
        (None, HEALTHY, []),
        (None, WARNING, ["opened"]),
        (None, UNHEALTHY, ["opened"]),
        (OPEN_WARNING, WARNING, []),
        (OPEN_WARNING, UNHEALTHY, ["worse"]),
        (OPEN_UNHEALTHY, WARNING, ["better"]),
        (BETTER_BY_NOW, UNHEALTHY, ["worse"]),
        (OPEN_WARNING, HEALTHY, ["resolved"]),
        (OPEN_UNHEALTHY, HEALTHY, ["resolved"]),
    ],
)
def test_a_run_opens_changes_and_ends_an_incident(known: Known | None, severity: Severity, steps: list[str]) -> None:
    assert events(known, severity) == steps


FLAPPING = Known(worst=UNHEALTHY, current=UNHEALTHY, is_flapping=True)
FLAPPING_GONE = Known(worst=UNHEALTHY, current=HEALTHY, is_flapping=True)


@pytest.mark.parametrize(
    ("known", "severity", "steps"),
    [
        # Nobody has heard of it yet: its coming and going is its beginning
        (None, UNHEALTHY, ["opened (damped)", "flapping"]),
        (None, HEALTHY, []),
        # It stays open although it is gone just now
        (OPEN_UNHEALTHY, HEALTHY, ["better (damped)", "flapping"]),
        (OPEN_UNHEALTHY, UNHEALTHY, ["flapping"]),
        (FLAPPING, HEALTHY, ["better (damped)"]),
        (FLAPPING_GONE, UNHEALTHY, ["worse (damped)"]),
        (FLAPPING_GONE, HEALTHY, []),
        # Worse than it ever was is not more of the same
        (replace(FLAPPING_GONE, worst=WARNING), UNHEALTHY, ["worse"]),
    ],
)
def test_while_it_comes_and_goes_its_steps_are_put_on_record_only(
    known: Known | None, severity: Severity, steps: list[str]
) -> None:
    assert events(known, severity, flapping=True) == steps


@pytest.mark.parametrize(
    ("known", "severity", "steps"),
    [
        (FLAPPING_GONE, HEALTHY, ["settled", "resolved"]),
        (FLAPPING, UNHEALTHY, ["settled"]),
        (FLAPPING, WARNING, ["settled", "better"]),
    ],
)
def test_once_it_keeps_still_it_is_over_or_simply_open(known: Known, severity: Severity, steps: list[str]) -> None:
    assert events(known, severity) == steps


def test_every_step_leads_to_the_severity_of_the_run_and_none_is_made_without_a_change() -> None:
    known = [None, *(Known(w, c, f) for w, c, f in product(Severity, Severity, (True, False)) if RANK[w] >= RANK[c])]
    for before, severity, flapping in product(known, Severity, (True, False)):
        changes = judge(before, severity, flapping=flapping)
        assert all(change.severity is severity for change in changes)
        assert len({change.event for change in changes}) == len(changes)
        if before and before.current is severity and before.is_flapping is flapping and severity is not HEALTHY:
            assert changes == [], (before, severity, flapping)


def test_the_end_comes_last() -> None:
    assert judge(FLAPPING_GONE, HEALTHY, flapping=False)[-1] == Change(Event.RESOLVED, HEALTHY)


# -- coming and going ------------------------------------------------------------------------------------------------


def ago(*minutes: float) -> list[float]:
    return [(NOW - timedelta(minutes=each)).timestamp() for each in minutes]


@pytest.mark.parametrize(
    ("changes", "was", "flapping"),
    [
        ([], False, False),
        (ago(50, 30, 10), False, False),
        (ago(50, 30, 10, 0), False, True),
        (ago(61, 30, 10, 0), False, False),
        # Damped until it has kept still for half an hour
        (ago(50, 40, 35, 29), True, True),
        (ago(50, 40, 35, 30), True, False),
        (ago(29), True, True),
        ([], True, False),
    ],
)
def test_four_changes_in_an_hour_are_flapping_until_half_an_hour_without_one(
    changes: list[float], was: bool, flapping: bool
) -> None:
    assert is_flapping(changes, NOW, LIMITS, was=was) is flapping


def test_flapping_can_be_switched_off() -> None:
    assert not is_flapping(ago(4, 3, 2, 1, 0), NOW, replace(LIMITS, flap_changes=0), was=False)
    assert flaps(ago(90, 59, 1), NOW, LIMITS) == 2


# -- time ------------------------------------------------------------------------------------------------------------


def hours(number: float) -> datetime:
    return NOW - timedelta(hours=number)


OUTAGE = Standing(UNHEALTHY, told_at=hours(0.1), told_unhealthy_at=hours(0.1))


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (OUTAGE, []),
        # Nobody has heard of it
        (Standing(UNHEALTHY, None, None), []),
        # Half an hour after people heard of it, and once
        (replace(OUTAGE, told_unhealthy_at=hours(0.5)), ["escalated"]),
        (replace(OUTAGE, told_unhealthy_at=hours(0.49)), []),
        (replace(OUTAGE, told_unhealthy_at=hours(0.5), is_escalated=True), []),
        (replace(OUTAGE, told_unhealthy_at=hours(0.5), is_acknowledged=True), []),
        (replace(OUTAGE, told_unhealthy_at=hours(0.5), is_held=True), []),
        (replace(OUTAGE, told_unhealthy_at=hours(0.5), muted_until=hours(-1)), []),
        (Standing(WARNING, hours(5), hours(5)), []),
        # Six hours, a day
        (Standing(UNHEALTHY, hours(6), hours(9), is_escalated=True), ["reminded"]),
        (Standing(UNHEALTHY, hours(5.9), hours(9), is_escalated=True), []),
        (Standing(UNHEALTHY, hours(20), hours(20), reminded_at=hours(5), is_escalated=True), []),
        (Standing(UNHEALTHY, hours(20), hours(20), reminded_at=hours(6), is_escalated=True), ["reminded"]),
        (Standing(UNHEALTHY, hours(20), hours(20), is_escalated=True, is_acknowledged=True), []),
        (Standing(UNHEALTHY, hours(20), hours(20), is_escalated=True, is_held=True), []),
        (Standing(UNHEALTHY, hours(20), hours(20), is_escalated=True, muted_until=hours(-1)), []),
        (Standing(WARNING, hours(23), None), []),
        (Standing(WARNING, hours(24), None), ["reminded"]),
        # An escalation reminds as well
        (Standing(UNHEALTHY, hours(20), hours(20)), ["escalated"]),
        # A mute that is over
        (replace(OUTAGE, muted_until=NOW), ["unmuted"]),
        (replace(OUTAGE, muted_until=hours(1), is_acknowledged=True), ["unmuted"]),
        (replace(OUTAGE, muted_until=hours(1), told_unhealthy_at=hours(3)), ["unmuted", "escalated"]),
    ],
)
def test_time_reminds_escalates_and_ends_a_mute(standing: Standing, expected: list[str]) -> None:
    assert [event.value for event in due(standing, NOW, LIMITS)] == expected


def test_reminders_and_escalation_can_be_switched_off() -> None:
    off = replace(LIMITS, remind_unhealthy=None, remind_warning=None, escalate_after=None)
    assert due(Standing(UNHEALTHY, hours(900), hours(900)), NOW, off) == []
    assert due(Standing(WARNING, hours(900), None), NOW, off) == []
