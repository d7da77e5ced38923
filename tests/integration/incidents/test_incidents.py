"""Samples, time and people move incidents; each step is one row, written with it."""

from datetime import timedelta

import pytest
from django.db import DatabaseError
from pytest_django import Settings

from api_service.models import Delivery, FindingState, HealthSample, Incident, MaintenanceWindow, Notice, Transition
from api_service.services import incident_acts, incidents, redaction, retention
from api_service.services.health_rules import Finding, Severity
from tests.integration.incidents.conftest import (
    NODES,
    NOW,
    at,
    budget,
    down,
    is_told,
    outage,
    run,
    stored,
    words,
)

pytestmark = pytest.mark.django_db
HOURS = 60


# -- samples ---------------------------------------------------------------------------------------------------------


def test_a_finding_that_counts_opens_an_incident_and_its_end_ends_it() -> None:
    assert run(0, down()) == []
    assert run(5, down()) == [f"opened node_down {NODES[0]}"]
    incident = Incident.objects.get()
    assert (incident.since, incident.opened_at) == (at(0), at(5))
    assert (incident.severity, incident.current, incident.value) == ("unhealthy", "unhealthy", "connection refused")
    assert run(10, down()) == run(15) == []
    assert run(20) == [f"resolved node_down {NODES[0]}"]
    incident.refresh_from_db()
    assert (incident.resolved_at, incident.current, incident.severity) == (at(20), "healthy", "unhealthy")


def test_the_facts_of_a_step_are_those_of_its_time() -> None:
    outage()
    run(10)
    run(15)
    opened, resolved = Transition.objects.order_by("pk")
    assert opened.facts == {
        "event": "opened",
        "code": "node_down",
        "node": NODES[0],
        "severity": "unhealthy",
        "previous": "healthy",
        "value": "connection refused",
        "limit": "",
        "at": at(5).isoformat(),
        "since": at(0).isoformat(),
        "opened_at": at(5).isoformat(),
        "resolved_at": None,
        "duration_seconds": None,
        "by": "",
        "note": "",
        "muted_until": None,
        "flaps": 0,
        "unjudged": False,
        "maintenance": "",
        "backend": "memcached",
        "nodes_reachable": 2,
        "nodes_total": 3,
        "sample": HealthSample.objects.get(taken_at=at(5)).pk,
    }
    assert resolved.facts["duration_seconds"] == 15 * 60
    assert (resolved.facts["severity"], resolved.facts["previous"]) == ("healthy", "unhealthy")
    assert resolved.facts["nodes_reachable"] == 3


def test_each_node_has_an_incident_of_its_own() -> None:
    run(0, *map(down, NODES))
    assert run(5, *map(down, NODES)) == [f"opened node_down {node}" for node in NODES]
    run(10, down(NODES[0]))
    assert run(15, down(NODES[0])) == [f"resolved node_down {node}" for node in NODES[1:]]
    assert Incident.objects.get(resolved_at=None).node == NODES[0]


def test_it_gets_worse_and_better_and_is_remembered_by_the_worst() -> None:
    assert run(0, budget()) == ["opened budget_low migo/day"]
    assert run(5, budget(Severity.UNHEALTHY)) == ["worse budget_low migo/day"]
    assert run(10, budget()) == ["better budget_low migo/day"]
    incident = Incident.objects.get()
    assert (incident.severity, incident.current) == ("unhealthy", "warning")
    assert run(15) == ["resolved budget_low migo/day"]
    assert Transition.objects.get(event="resolved").facts["previous"] == "unhealthy"


def test_trouble_that_comes_again_is_a_new_incident() -> None:
    run(0, budget())
    run(5)
    assert run(10, budget()) == ["opened budget_low migo/day"]
    assert Incident.objects.count() == 2


def test_the_value_follows_the_measure_and_the_told_one_stays() -> None:
    run(0, budget())
    changed = budget()
    run(5, type(changed)(changed.code, changed.severity, changed.node, "90", changed.limit))
    assert Incident.objects.get().value == "90"
    assert Transition.objects.get().facts["value"] == "80"


def test_a_sample_is_judged_once_and_none_after_a_newer_one() -> None:
    stored(0, down())
    older, newer = stored(5, down()), stored(10, down())
    assert words(incidents.apply(newer, at(11))) == [f"opened node_down {NODES[0]}"]
    assert incidents.apply(newer, at(12)) == incidents.apply(older, at(12)) == []
    older.refresh_from_db()
    assert older.judged_at is None


def test_a_run_that_was_killed_before_it_judged_is_made_up_for_by_the_next() -> None:
    stored(0, down())
    stored(5, down())
    assert run(10, down()) == [f"opened node_down {NODES[0]}"]
    assert Incident.objects.get().since == at(0)


def test_one_run_by_a_clock_that_was_a_day_ahead_silences_nothing() -> None:
    run(24 * HOURS)
    assert run(0, down()) == []
    assert run(5, down()) == [f"opened node_down {NODES[0]}"]
    assert Incident.objects.get().since == at(0)


def test_an_outage_by_a_clock_that_was_a_day_ahead_ends_by_the_right_one() -> None:
    run(24 * HOURS, down())
    run(24 * HOURS + 5, down())
    assert run(0) == []
    assert run(5) == [f"resolved node_down {NODES[0]}"]


def test_the_incident_and_its_step_are_written_together_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    stored(0, down())
    sample = stored(5, down())

    def full_disk(_rows: object) -> None:
        raise DatabaseError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Transition.objects, "bulk_create", full_disk)
        with pytest.raises(DatabaseError, match="disk full"):
            incidents.apply(sample, at(6))
    assert not Incident.objects.exists()
    assert words(incidents.apply(sample, at(7))) == [f"opened node_down {NODES[0]}"]


def test_a_secret_in_an_error_or_a_note_does_not_reach_the_rows() -> None:
    redaction.register_secrets(["cache-password-123"])
    run(0, down(said="AUTH cache-password-123"))
    run(5, down(said="AUTH cache-password-123"))
    incident_acts.acknowledge(Incident.objects.get().pk, "ana", "it is cache-password-123 again", at(6))
    rows = str([*Incident.objects.values(), *Transition.objects.values()])
    assert "cache-password-123" not in rows
    assert rows.count("[redacted]") >= 3


# -- coming and going ------------------------------------------------------------------------------------------------


def flap() -> None:
    """Four changes within a quarter of an hour."""
    for minutes, findings in ((0, [budget()]), (5, []), (10, [budget()]), (15, [])):
        run(minutes, *findings)


def test_what_comes_and_goes_is_one_open_incident_until_it_keeps_still() -> None:
    flap()
    incident = Incident.objects.get(resolved_at=None)
    assert (incident.flapping_since, incident.current) == (at(15), "healthy")
    assert run(20, budget()) == ["worse budget_low migo/day"]
    assert run(25) == ["better budget_low migo/day"]
    told = Transition.objects.filter(incident=incident).order_by("pk").values_list("event", "telling", "held_by")
    assert list(told) == [
        ("opened", "pending", ""),
        ("better", "quiet", "flapping"),
        ("flapping", "pending", ""),
        ("worse", "quiet", "flapping"),
        ("better", "quiet", "flapping"),
    ]
    assert run(54) == []
    assert run(55) == ["settled budget_low migo/day", "resolved budget_low migo/day"]
    assert Transition.objects.get(event="flapping").facts["flaps"] == 4
    assert Transition.objects.get(event="flapping").facts["severity"] == "warning"


def test_what_stays_after_coming_and_going_is_simply_open() -> None:
    flap()
    run(20, budget())
    assert run(45, budget()) == []
    assert run(50, budget()) == ["settled budget_low migo/day"]
    incident = Incident.objects.get(resolved_at=None)
    assert (incident.flapping_since, incident.current) == (None, "warning")
    # What it has settled from is not counted again
    assert [run(minutes, budget()) for minutes in (55, 60, 65, 70, 75)] == [[]] * 5


# -- time ------------------------------------------------------------------------------------------------------------


def tick(minutes: float) -> list[str]:
    return words(incidents.tick(at(minutes)))


def test_an_outage_that_nobody_acknowledges_is_escalated_once_and_then_reminded_of() -> None:
    outage()
    assert tick(34) == []
    assert tick(35) == [f"escalated node_down {NODES[0]}"]
    is_told(35)
    assert tick(36) == tick(35 + 6 * HOURS - 1) == []
    assert tick(35 + 6 * HOURS) == [f"reminded node_down {NODES[0]}"]
    is_told(35 + 6 * HOURS)
    assert tick(35 + 12 * HOURS - 1) == []
    assert tick(35 + 12 * HOURS) == [f"reminded node_down {NODES[0]}"]
    assert Incident.objects.get().escalated_at == at(35)


def test_what_was_not_told_yet_is_neither_escalated_nor_reminded_of() -> None:
    run(0, down())
    run(5, down())
    assert tick(24 * HOURS) == []


def test_a_warning_is_reminded_of_once_a_day() -> None:
    run(0, budget())
    is_told(0)
    assert tick(24 * HOURS - 1) == []
    assert tick(24 * HOURS) == ["reminded budget_low migo/day"]


def test_an_incident_that_is_over_is_left_alone() -> None:
    outage()
    run(10)
    run(15)
    is_told(15)
    assert tick(24 * HOURS) == []


# -- people ----------------------------------------------------------------------------------------------------------


def test_who_acknowledges_gets_no_reminder_and_nobody_is_escalated_to() -> None:
    incident = outage()
    step = incident_acts.acknowledge(incident.pk, "ana", "on my way", at(6))
    assert step is not None
    assert (step.event, step.by, step.note, step.facts["by"], step.facts["note"]) == (
        *("acknowledged", "ana", "on my way"),
        *("ana", "on my way"),
    )
    incident.refresh_from_db()
    assert (incident.acknowledged_at, incident.acknowledged_by) == (at(6), "ana")
    assert incident_acts.acknowledge(incident.pk, "luis", "", at(7)) is None
    assert tick(24 * HOURS) == []


def test_an_acknowledged_warning_that_becomes_an_outage_is_nobodys_any_more() -> None:
    run(0, budget())
    incident = Incident.objects.get()
    incident_acts.acknowledge(incident.pk, "ana", "", at(1))
    run(5, budget(Severity.UNHEALTHY))
    is_told(5)
    incident.refresh_from_db()
    assert (incident.acknowledged_at, incident.acknowledged_by) == (None, "")
    assert tick(35) == ["escalated budget_low migo/day"]


def test_a_mute_ends_by_itself() -> None:
    incident = outage()
    assert incident_acts.mute(incident.pk, "ana", at(66), "we know", at(6)) is not None
    assert incident_acts.mute(incident.pk, "ana", at(66), "we know", at(6)) is None
    assert tick(65) == []
    # It was told an hour ago, and nobody has acknowledged it
    assert tick(66) == [f"unmuted node_down {NODES[0]}", f"escalated node_down {NODES[0]}"]
    incident.refresh_from_db()
    assert (incident.muted_until, incident.muted_by) == (None, "")
    assert tick(67) == []


def test_a_mute_can_be_taken_back() -> None:
    incident = outage()
    incident_acts.mute(incident.pk, "ana", at(66), "", at(6))
    assert incident_acts.unmute(incident.pk, "luis", "it is serious", at(7)) is not None
    assert incident_acts.unmute(incident.pk, "luis", "", at(8)) is None


def test_a_mute_is_of_the_trouble_and_not_of_one_incident(settings: Settings) -> None:
    settings.ALERT_FLAP_CHANGES = 0
    run(0, budget())
    incident_acts.mute(Incident.objects.get().pk, "ana", at(60), "", at(1))
    run(5)
    run(10, budget())
    again = Incident.objects.get(resolved_at=None)
    assert (again.muted_until, again.muted_by) == (at(60), "ana")
    assert Transition.objects.get(incident=again).held_by == "muted"
    run(15)
    run(70, budget())
    assert Incident.objects.get(resolved_at=None).muted_until is None


def test_a_mute_that_was_taken_back_does_not_come_again_from_an_older_incident(settings: Settings) -> None:
    settings.ALERT_FLAP_CHANGES = 0
    run(0, budget())
    incident_acts.mute(Incident.objects.get().pk, "ana", at(480), "", at(1))
    run(5)
    run(10, budget())
    incident_acts.unmute(Incident.objects.get(resolved_at=None).pk, "luis", "it is serious", at(11))
    run(15)
    run(20, budget())
    assert Incident.objects.get(resolved_at=None).muted_until is None
    assert Transition.objects.get(incident__resolved_at=None).held_by == ""


def test_the_mute_of_an_incident_that_is_over_is_taken_back_before_the_next_one(settings: Settings) -> None:
    settings.ALERT_FLAP_CHANGES = 0
    run(0, budget())
    over = Incident.objects.get()
    incident_acts.mute(over.pk, "ana", at(480), "", at(1))
    run(5)
    assert incident_acts.unmute(over.pk, "luis", "it is serious", at(6)) is not None
    assert incident_acts.unmute(over.pk, "luis", "", at(7)) is None
    run(10, budget())
    assert Incident.objects.get(resolved_at=None).muted_until is None
    assert Transition.objects.get(incident__resolved_at=None).held_by == ""


def test_once_a_newer_one_has_the_mute_the_older_one_has_none_to_take_back(settings: Settings) -> None:
    settings.ALERT_FLAP_CHANGES = 0
    run(0, budget())
    older = Incident.objects.get()
    incident_acts.mute(older.pk, "ana", at(480), "", at(1))
    run(5)
    run(10, budget())
    assert incident_acts.unmute(older.pk, "luis", "", at(11)) is None
    assert Incident.objects.get(resolved_at=None).muted_until == at(480)


def test_nothing_is_done_to_an_incident_that_is_over() -> None:
    incident = outage()
    run(10)
    run(15)
    assert incident_acts.acknowledge(incident.pk, "ana", "", at(16)) is None
    assert incident_acts.mute(incident.pk, "ana", at(60), "", at(16)) is None
    assert incident_acts.mute(incident.pk + 99, "ana", at(60), "", at(16)) is None


def test_a_long_note_and_a_long_name_are_cut_to_what_the_row_holds() -> None:
    step = incident_acts.acknowledge(outage().pk, "a" * 500, "x" * 1000, at(6))
    assert step is not None
    assert (len(step.by), len(step.note)) == (150, 300)


def test_what_is_acknowledged_and_swings_between_two_severities_stays_so() -> None:
    run(0, budget(Severity.UNHEALTHY))
    is_told(0)
    incident_acts.acknowledge(Incident.objects.get().pk, "ana", "", at(1))
    for minutes in (5, 15, 25):
        run(minutes, budget())
        run(minutes + 5, budget(Severity.UNHEALTHY))
    assert Incident.objects.get().acknowledged_by == "ana"
    assert tick(24 * HOURS) == []


# -- maintenance -----------------------------------------------------------------------------------------------------


def test_what_happens_in_a_window_is_measured_and_held_back() -> None:
    MaintenanceWindow.objects.create(name="patch night", starts_at=NOW, minutes=60, node=NODES[0])
    run(0, down(NODES[0]), down(NODES[1]))
    assert len(run(5, down(NODES[0]), down(NODES[1]))) == 2
    inside, outside = Transition.objects.order_by("incident__node")
    assert (inside.telling, inside.held_by, inside.facts["maintenance"]) == ("pending", "maintenance", "patch night")
    assert (outside.held_by, outside.facts["maintenance"]) == ("", "")
    is_told(5)
    # Reminders and escalations wait, too
    assert tick(36) == [f"escalated node_down {NODES[1]}"]


def test_a_window_that_is_turned_off_holds_nothing_back() -> None:
    MaintenanceWindow.objects.create(name="patch night", starts_at=NOW, minutes=60, enabled=False)
    run(0, budget())
    assert Transition.objects.get().held_by == ""


# -- retention -------------------------------------------------------------------------------------------------------


def test_old_incidents_go_with_their_transitions_and_with_what_was_told_of_them(settings: Settings) -> None:
    settings.HEALTH_RETENTION_DAYS = 30
    outage()
    notice = Notice.objects.get()
    Delivery.objects.create(notice=notice, channel="slack", state="sent", created_at=at(5), due_at=at(5))
    run(10)
    run(15)
    run(20, budget())
    is_told(20)
    assert retention.prune(NOW + timedelta(days=30))["incidents"] == 0
    assert retention.prune(NOW + timedelta(days=31))["incidents"] == 1
    # The one that is open stays, however old, and what it told
    assert Incident.objects.get().code == "budget_low"
    assert Notice.objects.get() != notice
    assert not Delivery.objects.exists()
    assert Transition.objects.get().notice == Notice.objects.get()


def test_a_notice_that_is_still_on_its_way_is_kept(settings: Settings) -> None:
    settings.HEALTH_RETENTION_DAYS = 1
    notice = Notice.objects.create(created_at=NOW, severity="warning")
    delivery = Delivery.objects.create(notice=notice, channel="slack", created_at=NOW, due_at=NOW)
    retention.prune(NOW + timedelta(days=9))
    assert Notice.objects.exists()
    Delivery.objects.filter(pk=delivery.pk).update(state="failed")
    retention.prune(NOW + timedelta(days=9))
    assert not Notice.objects.exists()


def test_states_of_findings_do_not_pile_up() -> None:
    outage()
    for minutes in (10, 15, 90):
        run(minutes)
    assert not FindingState.objects.exists()


# -- no longer judged --------------------------------------------------------------------------------------------------


def poor() -> Finding:
    return Finding("hit_ratio_low", Severity.WARNING, NODES[0], 0.1, 0.2)


def test_what_nobody_can_judge_any_more_ends_and_says_that_it_is_not_known_to_be_well(
    settings: Settings,
) -> None:
    settings.HEALTH_UNJUDGED_HOURS = 12
    for minutes in (0, 5, 10):
        run(minutes, poor())
    quiet = [("hit_ratio_low", "*")]
    assert run(11 * HOURS, unknown=quiet) == []
    assert run(13 * HOURS, unknown=quiet) == [f"resolved hit_ratio_low {NODES[0]}"]
    step = Transition.objects.latest("pk")
    assert (step.facts["unjudged"], step.facts["severity"]) == (True, "healthy")


def test_what_is_well_again_is_not_called_unjudged() -> None:
    for minutes in (0, 5, 10):
        run(minutes, poor())
    for minutes in (15, 20, 25):
        run(minutes, unknown=[("node_slow", NODES[0])])
    step = Transition.objects.latest("pk")
    assert (step.event, step.facts["unjudged"]) == ("resolved", False)


def test_what_is_never_to_lapse_stays_open(settings: Settings) -> None:
    settings.HEALTH_UNJUDGED_HOURS = 0
    for minutes in (0, 5, 10):
        run(minutes, poor())
    assert run(100 * HOURS, unknown=[("hit_ratio_low", NODES[0])]) == []
    assert Incident.objects.get().resolved_at is None
