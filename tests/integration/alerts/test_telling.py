"""From what happened to the outbox: what is told, in one notice, and to whom."""

import threading
from datetime import timedelta

import pytest
from django.db import connections
from pytest_django import Settings

from api_service.models import Delivery, Incident, MaintenanceWindow, Notice, Transition
from api_service.services import incident_acts, incidents
from tests.http_catcher import HttpCatcher
from tests.integration.alerts.conftest import NODES, NOW, down, judge, slow
from tests.smtp_catcher import SmtpCatcher
from workers.alerts.telling import tell

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def tell_at(minutes: float) -> list[Delivery]:
    return tell(NOW + timedelta(minutes=minutes))


def said(delivery: Delivery) -> list[tuple[str, str, str]]:
    return [(step["event"], step["code"], step["node"]) for step in delivery.facts["steps"]]


def by_channel(deliveries: list[Delivery]) -> dict[str, list[tuple[str, str, str]]]:
    return {delivery.channel: said(delivery) for delivery in deliveries}


def tellings() -> list[str]:
    return list(Transition.objects.order_by("pk").values_list("telling", flat=True))


def test_what_happened_is_told_once_to_each_channel(channels: HttpCatcher) -> None:
    judge(0, down())
    assert by_channel(tell_at(0)) == {
        "slack": [("opened", "node_down", NODES[0])],
        "sentry": [("opened", "node_down", NODES[0])],
    }
    assert tellings() == ["told"]
    assert tell_at(1) == []
    assert Transition.objects.get().notice == Notice.objects.get()


def test_a_hundred_nodes_that_fail_together_are_one_message_a_channel(channels: HttpCatcher) -> None:
    judge(0, *(down(f"10.0.1.{number}:11211") for number in range(100)))
    deliveries = tell_at(0)
    assert [(row.channel, len(row.facts["steps"])) for row in deliveries] == [("slack", 100), ("sentry", 100)]
    assert Notice.objects.count() == 1


def test_nothing_to_tell_writes_nothing(channels: HttpCatcher) -> None:
    judge(0)
    assert tell_at(0) == []
    assert not Notice.objects.exists()


def test_a_step_that_nobody_waits_for_is_quiet(channels: HttpCatcher) -> None:
    judge(0, {**slow(), "severity": "unhealthy"})
    tell_at(0)
    judge(5, slow())
    assert tell_at(5) == []
    assert tellings() == ["told", "quiet"]


def test_without_a_channel_what_happened_is_told_to_nobody_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    judge(0, down())
    assert tell_at(0) == []
    assert tellings() == ["told"]
    assert "Nobody is told of 1 changes" in caplog.text


def test_each_channel_gets_what_its_route_takes(channels: HttpCatcher, mail: SmtpCatcher, settings: Settings) -> None:
    settings.ALERT_ROUTES = "sentry=unhealthy, email=warning:node_slow"
    judge(0, down(), slow(NODES[1]))
    opened = [("opened", "node_down", NODES[0])]
    late = [("opened", "node_slow", NODES[1])]
    found = by_channel(tell_at(0))
    assert sorted(found.pop("slack")) == opened + late
    assert found == {"sentry": opened, "email": late, "email:2": late}


def test_who_heard_of_the_beginning_hears_of_the_end(channels: HttpCatcher, settings: Settings) -> None:
    settings.ALERT_ROUTES = "sentry=unhealthy"
    judge(0, slow())
    assert list(by_channel(tell_at(0))) == ["slack"]
    judge(5, {**slow(), "severity": "unhealthy"})
    assert {name: steps[0][0] for name, steps in by_channel(tell_at(5)).items()} == {
        "slack": "worse",
        "sentry": "worse",
    }
    judge(10)
    assert [steps[0][0] for steps in by_channel(tell_at(10)).values()] == ["resolved", "resolved"]


def test_an_escalation_goes_to_further_channels_and_so_does_the_end(
    channels: HttpCatcher, mail: SmtpCatcher, settings: Settings
) -> None:
    settings.ALERT_ESCALATE_TO = "email"
    judge(0, down())
    assert set(by_channel(tell_at(0))) == {"slack", "sentry"}
    incidents.tick(NOW + timedelta(minutes=31))
    escalated = by_channel(tell_at(31))
    assert set(escalated) == {"slack", "sentry", "email", "email:2"}
    assert escalated["email"] == [("escalated", "node_down", NODES[0])]
    judge(40)
    assert by_channel(tell_at(40))["email:2"] == [("resolved", "node_down", NODES[0])]


def test_an_incident_that_was_not_escalated_ends_without_the_further_channels(
    channels: HttpCatcher, mail: SmtpCatcher, settings: Settings
) -> None:
    settings.ALERT_ESCALATE_TO = "email"
    judge(0, down())
    tell_at(0)
    judge(5)
    assert set(by_channel(tell_at(5))) == {"slack", "sentry"}


def test_an_acknowledgement_is_told_with_its_name(channels: HttpCatcher) -> None:
    judge(0, down())
    tell_at(0)
    incident_acts.acknowledge(Incident.objects.get().pk, "ana", "on it", NOW + timedelta(minutes=1))
    (slack, _sentry) = tell_at(1)
    step = slack.facts["steps"][0]
    assert (step["event"], step["by"], step["note"]) == ("acknowledged", "ana", "on it")


def window(minutes: int = 60) -> MaintenanceWindow:
    return MaintenanceWindow.objects.create(name="new disks", starts_at=NOW - timedelta(minutes=1), minutes=minutes)


def test_during_maintenance_nothing_is_told_and_at_its_end_what_is_still_wrong(channels: HttpCatcher) -> None:
    window()
    judge(0, down(), slow(NODES[1]))
    assert tell_at(0) == []
    assert set(Transition.objects.values_list("telling", "held_by")) == {("pending", "maintenance")}
    judge(30, down())
    assert tell_at(30) == []
    slack = tell_at(60)[0]
    assert said(slack) == [("opened", "node_down", NODES[0])]
    assert slack.facts["steps"][0]["began_in"] == "new disks"
    assert "pending" not in tellings()


def test_what_is_muted_is_not_told(channels: HttpCatcher) -> None:
    judge(0, down())
    tell_at(0)
    incident_acts.mute(Incident.objects.get().pk, "ana", NOW + timedelta(hours=1), "", NOW + timedelta(minutes=1))
    assert said(tell_at(1)[0]) == [("muted", "node_down", NODES[0])]
    incidents.tick(NOW + timedelta(minutes=31))
    assert tell_at(31) == []


def test_to_a_channel_that_is_off_it_has_failed_already_with_the_reason(channels: HttpCatcher) -> None:
    from workers.alerts import channel_states

    channel_states.switch_off("slack", "the service answered 404: no_service", NOW)
    Delivery.objects.all().delete()
    judge(0, down())
    tell_at(0)
    assert list(Delivery.objects.order_by("channel").values_list("channel", "state", "error")) == [
        ("sentry", "pending", ""),
        ("slack", "failed", "the channel is off: the service answered 404: no_service"),
    ]


def test_a_secret_in_an_error_is_in_no_row(channels: HttpCatcher, settings: Settings) -> None:
    judge(0, {**down(), "value": f"refused by {settings.SLACK_WEBHOOK_URL}"})
    tell_at(0)
    assert "slack-secret-0001" not in str(list(Delivery.objects.values()) + list(Transition.objects.values()))


@pytest.mark.django_db(transaction=True)
def test_workers_that_tell_at_the_same_time_write_one_notice(channels: HttpCatcher) -> None:
    judge(0, *(down(f"10.0.1.{number}:11211") for number in range(20)))
    barrier = threading.Barrier(4)
    written: list[int] = []

    def run() -> None:
        barrier.wait()
        try:
            written.append(len(tell_at(0)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(written) == [0, 0, 0, 2]
    assert (Notice.objects.count(), Delivery.objects.count()) == (1, 2)
