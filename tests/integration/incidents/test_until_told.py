"""From the runs to what people hear: windows, mutes and kills hold back, and lose nothing."""

import pytest
from django.db.models import QuerySet
from pytest_django import Settings

from api_service.models import Incident, MaintenanceWindow, Transition
from api_service.services import incident_acts, incidents
from api_service.services.health_rules import Severity
from tests.integration.incidents.conftest import NODES, NOW, at, budget, down, run
from workers.alerts import telling

pytestmark = pytest.mark.django_db


def minute(minutes: float) -> list[str]:
    """What a minute's `deliver_alerts` tells: the event as it is told, and the window that it began in."""
    before = set(told().values_list("pk", flat=True))
    incidents.tick(at(minutes))
    telling.tell(at(minutes))
    return [f"{row.event} {row.incident}" for row in told().exclude(pk__in=before)]


def told() -> QuerySet[Transition]:
    return Transition.objects.filter(telling="told").select_related("incident").order_by("pk")


def quiet() -> list[tuple[str, str]]:
    return list(Transition.objects.filter(telling="quiet").order_by("pk").values_list("event", "held_by"))


@pytest.fixture
def window() -> MaintenanceWindow:
    """An hour, for the first node."""
    return MaintenanceWindow.objects.create(name="patch night", starts_at=NOW, minutes=60, node=NODES[0])


def test_what_is_still_wrong_after_a_window_is_told_at_its_end(window: MaintenanceWindow) -> None:
    run(0, down())
    run(5, down())
    assert [minute(minutes) for minutes in (5, 6, 30, 59)] == [[], [], [], []]
    assert minute(60) == [f"opened node_down {NODES[0]}"]
    assert minute(61) == []
    # And only then the half hour begins after which it is escalated
    assert minute(89) == []
    assert minute(90) == [f"escalated node_down {NODES[0]}"]


def test_what_began_and_ended_in_a_window_is_never_told(window: MaintenanceWindow) -> None:
    for minutes, findings in ((0, [down()]), (5, [down()]), (10, []), (15, [])):
        run(minutes, *findings)
        assert minute(minutes) == []
    assert minute(60) == []
    assert quiet() == [("opened", "over"), ("resolved", "over")]


def test_what_people_knew_and_ended_in_a_window_is_told_as_resolved_at_its_end(window: MaintenanceWindow) -> None:
    run(-10, down())
    run(-5, down())
    assert minute(-5) == [f"opened node_down {NODES[0]}"]
    run(5)
    run(10)
    assert minute(10) == minute(59) == []
    assert minute(60) == [f"resolved node_down {NODES[0]}"]


def test_a_window_of_one_node_does_not_silence_another(window: MaintenanceWindow) -> None:
    run(0, down(NODES[0]), down(NODES[1]))
    run(5, down(NODES[0]), down(NODES[1]))
    assert minute(5) == [f"opened node_down {NODES[1]}"]


def test_a_mute_holds_back_and_its_end_catches_up(settings: Settings) -> None:
    settings.ALERT_ESCALATE_MINUTES = 0
    run(0, budget())
    assert minute(0) == ["opened budget_low migo/day"]
    incident_acts.mute(Incident.objects.get().pk, "ana", at(60), "", at(1))
    assert minute(1) == ["muted budget_low migo/day"]
    run(5, budget(Severity.UNHEALTHY))
    assert minute(5) == minute(59) == []
    assert minute(60) == ["worse budget_low migo/day", "unmuted budget_low migo/day"]


def test_nobody_is_told_that_what_is_over_is_not_muted_any_more() -> None:
    run(0, budget())
    minute(0)
    incident_acts.mute(Incident.objects.get().pk, "ana", at(60), "", at(1))
    run(5)
    minute(5)
    incident_acts.unmute(Incident.objects.get().pk, "ana", "", at(6))
    assert minute(6) == []
    assert ("unmuted", "minor") in quiet()


def test_what_comes_and_goes_is_told_once_until_it_keeps_still() -> None:
    heard = []
    for minutes in range(0, 60, 5):
        run(minutes, *([budget()] if minutes % 10 == 0 else []))
        heard += minute(minutes)
    assert [step.split()[0] for step in heard] == ["opened", "resolved", "opened", "flapping"]
    for minutes in range(60, 90, 5):
        run(minutes)
        heard += minute(minutes)
    assert [step.split()[0] for step in heard[4:]] == ["resolved"]


def test_a_worker_killed_before_it_told_loses_nothing() -> None:
    """The step is there; whoever comes next tells it, also when it is over by then."""
    run(0, budget())
    run(5)
    assert minute(6) == ["resolved budget_low migo/day"]
    assert quiet() == [("opened", "superseded")]
