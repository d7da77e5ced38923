"""What people hear of an incident, step by step, held back and caught up with."""

from itertools import product

import pytest

from api_service.models import Transition
from api_service.services.health_rules import Severity
from api_service.services.incident_facts import Event
from api_service.services.telling_rules import IncidentState, Reason, Step, Telling, Verdict, decide

HEALTHY, WARNING, UNHEALTHY = Severity.HEALTHY, Severity.WARNING, Severity.UNHEALTHY
UNTOLD = IncidentState(is_open=True, current=UNHEALTHY)
TOLD = IncidentState(is_open=True, current=UNHEALTHY, told=UNHEALTHY)
OVER = IncidentState(is_open=False, current=HEALTHY, told=UNHEALTHY)
OVER_UNTOLD = IncidentState(is_open=False, current=HEALTHY)


def steps(*events: Event, severity: Severity = UNHEALTHY, held_by: str = "", maintenance: str = "") -> list[Step]:
    return [Step(number, event, severity, held_by, maintenance) for number, event in enumerate(events, 1)]


def told(verdict: Verdict) -> list[tuple[int, str]]:
    return [(one.step, one.event.value) for one in verdict.tell]


def test_the_events_are_those_of_the_table() -> None:
    assert {event.value for event in Event} == set(Transition.Event.values)


def test_an_opened_incident_is_told() -> None:
    assert decide(steps(Event.OPENED), UNTOLD) == Verdict((Telling(1, Event.OPENED),), {}, {})


def test_what_got_worse_before_anybody_heard_of_it_is_told_once_as_it_stands() -> None:
    verdict = decide(steps(Event.OPENED, Event.WORSE), UNTOLD)
    assert told(verdict) == [(2, "opened")]
    assert verdict.quiet == {1: Reason.SUPERSEDED}


def test_worse_is_told_only_when_it_is_worse_than_people_know() -> None:
    assert told(decide(steps(Event.WORSE), IncidentState(is_open=True, current=UNHEALTHY, told=WARNING))) == [
        (1, "worse")
    ]
    assert decide(steps(Event.WORSE), TOLD).quiet == {1: Reason.SUPERSEDED}


def test_better_but_not_over_disturbs_nobody() -> None:
    verdict = decide(steps(Event.BETTER), IncidentState(is_open=True, current=WARNING, told=UNHEALTHY))
    assert verdict == Verdict((), {1: Reason.MINOR}, {})


@pytest.mark.parametrize(
    "event", [Event.REMINDED, Event.ESCALATED, Event.ACKNOWLEDGED, Event.UNMUTED, Event.FLAPPING, Event.SETTLED]
)
def test_what_happens_to_a_known_open_incident_is_told(event: Event) -> None:
    assert told(decide(steps(event), TOLD)) == [(1, event.value)]


def test_a_reminder_is_not_told_beside_news() -> None:
    verdict = decide(steps(Event.REMINDED, Event.ESCALATED), TOLD)
    assert told(verdict) == [(2, "escalated")]
    assert verdict.quiet == {1: Reason.SUPERSEDED}


def test_of_the_same_step_taken_twice_the_newest_is_told() -> None:
    assert told(decide(steps(Event.ACKNOWLEDGED, Event.ACKNOWLEDGED), TOLD)) == [(2, "acknowledged")]


def test_the_end_is_told_and_what_led_to_it_is_not() -> None:
    verdict = decide(steps(Event.WORSE, Event.SETTLED, Event.RESOLVED), OVER)
    assert told(verdict) == [(3, "resolved")]
    assert verdict.quiet == {1: Reason.SUPERSEDED, 2: Reason.SUPERSEDED}


def test_what_a_killed_worker_left_untold_is_told_although_it_is_over() -> None:
    assert told(decide(steps(Event.OPENED, Event.RESOLVED), OVER_UNTOLD)) == [(2, "resolved")]


def test_coming_and_going_is_told_as_the_beginning_when_nobody_heard_of_it() -> None:
    assert told(decide(steps(Event.OPENED, Event.FLAPPING), UNTOLD)) == [(2, "flapping")]


# -- maintenance -----------------------------------------------------------------------------------------------------


def in_window(state: IncidentState) -> IncidentState:
    return IncidentState(state.is_open, state.current, state.told, state.is_muted, "patch night")


def test_nothing_is_told_while_a_window_lasts() -> None:
    verdict = decide(steps(Event.OPENED, Event.WORSE), in_window(UNTOLD))
    assert verdict == Verdict((), {}, {1: Reason.MAINTENANCE, 2: Reason.MAINTENANCE})


def test_what_is_still_wrong_at_its_end_is_told_as_opened_with_the_window_that_it_began_in() -> None:
    pending = steps(Event.OPENED, held_by="maintenance", maintenance="patch night")
    assert decide(pending, UNTOLD).tell == (Telling(1, Event.OPENED, "patch night"),)


def test_what_began_and_ended_inside_is_never_told() -> None:
    pending = steps(Event.OPENED, Event.RESOLVED, held_by="maintenance", maintenance="patch night")
    for state in (in_window(OVER_UNTOLD), OVER_UNTOLD):
        assert decide(pending, state) == Verdict((), {1: Reason.OVER, 2: Reason.OVER}, {})


def test_the_end_of_what_people_knew_waits_for_the_end_of_the_window() -> None:
    pending = steps(Event.RESOLVED)
    assert decide(pending, in_window(OVER)).held == {1: Reason.MAINTENANCE}
    assert told(decide(steps(Event.RESOLVED, held_by="maintenance"), OVER)) == [(1, "resolved")]


@pytest.mark.parametrize("event", [Event.REMINDED, Event.ESCALATED, Event.ACKNOWLEDGED, Event.MUTED, Event.UNMUTED])
def test_what_is_news_only_while_it_is_new_is_dropped_inside_a_window(event: Event) -> None:
    assert decide(steps(event), in_window(TOLD)).quiet == {1: Reason.MAINTENANCE}


# -- muted -----------------------------------------------------------------------------------------------------------

MUTED = IncidentState(is_open=True, current=UNHEALTHY, told=WARNING, is_muted=True)


def test_who_muted_it_is_told_and_then_nothing_more() -> None:
    verdict = decide(steps(Event.MUTED, Event.WORSE, Event.REMINDED), MUTED)
    assert told(verdict) == [(1, "muted")]
    assert (verdict.held, verdict.quiet) == ({2: Reason.MUTED}, {3: Reason.MUTED})


def test_what_became_worse_while_muted_is_told_at_its_end() -> None:
    unmuted = IncidentState(is_open=True, current=UNHEALTHY, told=WARNING)
    verdict = decide(steps(Event.WORSE, Event.UNMUTED), unmuted)
    assert told(verdict) == [(1, "worse"), (2, "unmuted")]


def test_a_muted_incident_that_nobody_heard_of_stays_unheard() -> None:
    state = IncidentState(is_open=True, current=UNHEALTHY, is_muted=True)
    verdict = decide(steps(Event.OPENED, Event.MUTED), state)
    assert (told(verdict), verdict.held) == ([], {1: Reason.MUTED})


def test_the_end_of_a_known_incident_is_told_although_it_is_muted() -> None:
    state = IncidentState(is_open=False, current=HEALTHY, told=UNHEALTHY, is_muted=True)
    assert told(decide(steps(Event.RESOLVED), state)) == [(1, "resolved")]


# -- every case ------------------------------------------------------------------------------------------------------


def test_every_pending_step_is_told_held_or_quiet_and_only_one_of_them() -> None:
    states = [
        IncidentState(is_open, current, known, muted, window)
        for is_open, current, known, muted, window in product(
            (True, False), Severity, (None, *Severity), (True, False), ("", "patch night")
        )
    ]
    pairs = list(product(Event, Event, ("", "maintenance", "muted")))
    for (first, second, held_by), state in product(pairs, states):
        verdict = decide(steps(first, second, held_by=held_by), state)
        ids = [*(one.step for one in verdict.tell), *verdict.quiet, *verdict.held]
        assert sorted(ids) == [1, 2], (first, second, held_by, state)


def test_nothing_is_told_inside_a_window_and_held_steps_end_with_it() -> None:
    for first, second, known in product(Event, Event, (None, *Severity)):
        state = IncidentState(is_open=True, current=UNHEALTHY, told=known, maintenance="patch night")
        assert decide(steps(first, second), state).tell == ()
        assert decide(steps(first, second), IncidentState(is_open=True, current=UNHEALTHY, told=known)).held == {}
