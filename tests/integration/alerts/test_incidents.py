"""From health samples to one incident and the rows of the outbox."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, connections
from pytest_django import Settings

from api_service.models import Delivery, HealthSample, Incident
from api_service.services import redaction
from tests.http_catcher import HttpCatcher
from tests.integration.alerts.conftest import NODES, NOW, down, make_sample, slow
from workers.alerts import incidents, outbox

pytestmark = pytest.mark.django_db


def judge(sample: HealthSample) -> list[str]:
    """What the sample made the outbox say, as "channel event"."""
    written = incidents.apply(sample, sample.taken_at + timedelta(seconds=1))
    return sorted(f"{row.channel} {row.event}" for row in written)


def test_trouble_opens_one_incident_and_writes_a_delivery_per_channel(channels: HttpCatcher) -> None:
    sample = make_sample(0, down())
    assert judge(sample) == ["sentry opened", "slack opened"]
    incident = Incident.objects.get()
    assert (incident.code, incident.node, incident.severity) == ("cache_health", "", "unhealthy")
    assert incident.opened_at == sample.taken_at
    assert incident.resolved_at is None
    assert Delivery.objects.filter(state="pending", due_at=NOW + timedelta(seconds=1)).count() == 2


def test_the_facts_are_fixed_when_the_change_is_written(channels: HttpCatcher) -> None:
    sample = make_sample(0, down(), slow(NODES[1]))
    judge(sample)
    facts = Delivery.objects.filter(channel="slack").get().facts
    assert facts["findings"] == [{**down(), "current": True}, {**slow(NODES[1]), "current": True}]
    assert (facts["nodes_reachable"], facts["nodes_total"], facts["backend"]) == (2, 3, "memcached")
    assert (facts["severity"], facts["previous"], facts["sample"]) == ("unhealthy", "healthy", sample.pk)
    assert facts["opened_at"] == sample.taken_at.isoformat()
    assert facts["resolved_at"] is facts["duration_seconds"] is None


def test_the_same_trouble_in_the_next_sample_is_not_told_again(channels: HttpCatcher) -> None:
    judge(make_sample(0, down()))
    assert judge(make_sample(5, down())) == []
    assert Incident.objects.count() == 1


def test_a_sample_judged_twice_changes_nothing_the_second_time(channels: HttpCatcher) -> None:
    opening, closing = make_sample(0, down()), make_sample(5)
    assert judge(opening) != []
    assert judge(opening) == []
    assert judge(closing) == ["sentry recovered", "slack recovered"]
    assert judge(closing) == []
    assert judge(opening) == []
    assert (Incident.objects.count(), Delivery.objects.count()) == (1, 4)


def test_a_sample_overtaken_by_a_newer_one_is_ignored(channels: HttpCatcher) -> None:
    overtaken, newer = make_sample(0, down()), make_sample(5)
    assert judge(newer) == []
    assert judge(overtaken) == []
    assert not Incident.objects.exists()


def test_a_recovery_closes_the_incident_and_tells_the_worst_of_it(channels: HttpCatcher) -> None:
    judge(make_sample(0, down()))
    assert judge(make_sample(5, slow())) == []
    assert judge(make_sample(12)) == ["sentry recovered", "slack recovered"]
    incident = Incident.objects.get()
    assert incident.resolved_at == NOW + timedelta(minutes=12)
    assert incident.severity == "unhealthy"
    facts = Delivery.objects.filter(event="recovered", channel="slack").get().facts
    assert (facts["severity"], facts["previous"], facts["duration_seconds"]) == ("healthy", "unhealthy", 720.0)
    assert {finding["code"] for finding in facts["findings"]} == {"node_down", "node_slow"}
    assert not any(finding["current"] for finding in facts["findings"])


def test_getting_better_is_kept_silently_and_a_relapse_is_told(channels: HttpCatcher) -> None:
    judge(make_sample(0, down()))
    assert judge(make_sample(5, slow())) == []
    assert Incident.objects.get().severity == "warning"
    assert judge(make_sample(10, down())) == ["sentry worse", "slack worse"]
    assert Incident.objects.get().severity == "unhealthy"


def test_a_second_dead_node_is_told_within_the_same_incident(channels: HttpCatcher) -> None:
    judge(make_sample(0, down()))
    assert judge(make_sample(5, down(), down(NODES[1]))) == ["sentry worse", "slack worse"]
    assert Incident.objects.count() == 1
    assert Delivery.objects.filter(event="worse").first().facts["nodes_reachable"] == 1  # type: ignore[union-attr]


def test_trouble_after_a_recovery_is_a_new_incident(channels: HttpCatcher) -> None:
    for minutes, findings in [(0, [down()]), (5, []), (10, [down()])]:
        judge(make_sample(minutes, *findings))
    assert Incident.objects.count() == 2
    assert Incident.objects.filter(resolved_at__isnull=True).count() == 1
    assert Delivery.objects.count() == 6


def test_without_a_channel_the_incident_is_still_recorded_and_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="workers.alerts")
    assert judge(make_sample(0, down())) == []
    assert Incident.objects.count() == 1
    said = [record for record in caplog.records if "no alert channel is configured" in record.getMessage()]
    assert [record.levelno for record in said] == [logging.INFO]


def test_only_configured_channels_get_a_row(channels: HttpCatcher, settings: Settings) -> None:
    settings.SENTRY_DSN = ""
    assert judge(make_sample(0, down())) == ["slack opened"]


def test_a_secret_in_an_error_text_does_not_reach_the_rows(channels: HttpCatcher) -> None:
    redaction.register_secrets(["cache-password-123"])
    judge(make_sample(0, {**down(), "value": "AUTH cache-password-123 refused"}))
    assert "cache-password-123" not in str(Incident.objects.get().findings)
    assert "cache-password-123" not in str(Delivery.objects.values_list("facts", flat=True))
    assert "[redacted]" in str(Incident.objects.get().findings)


def test_a_change_and_its_deliveries_are_written_together_or_not_at_all(
    channels: HttpCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make_sample(0, down())

    def full_disk(*_arguments: object) -> None:
        raise DatabaseError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(incidents, "_tell", full_disk)
        with pytest.raises(DatabaseError, match="disk full"):
            judge(sample)
    assert not Incident.objects.exists()
    sample.refresh_from_db()
    assert sample.judged_at is None
    # The next run finds it unjudged and does all of it
    assert judge(sample) == ["sentry opened", "slack opened"]


@pytest.mark.django_db(transaction=True)
def test_monitors_that_judge_at_the_same_time_open_one_incident(channels: HttpCatcher) -> None:
    samples = [make_sample(0, down()) for _ in range(12)]

    def judge_and_hang_up(sample: HealthSample) -> list[str]:
        try:
            return judge(sample)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as pool:
        told = [line for lines in pool.map(judge_and_hang_up, samples) for line in lines]
    assert sorted(told) == ["sentry opened", "slack opened"]
    assert Incident.objects.count() == 1
    assert Delivery.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_monitor_that_loses_the_race_to_open_judges_against_the_others_incident(
    channels: HttpCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's row appears between our look and our insert: only the unique constraint tells."""
    looked = Incident.objects.select_for_update
    state = {"first": True}

    def look_then_lose() -> object:
        query = looked()
        if state.pop("first", False):
            assert query.filter(resolved_at=None).first() is None
            found = query.none()
            Incident.objects.create(
                code="cache_health", severity="warning", opened_at=NOW, findings=[{**slow(), "current": True}]
            )
            return found
        return query

    monkeypatch.setattr(Incident.objects, "select_for_update", look_then_lose)
    assert judge(make_sample(0, down())) == ["sentry worse", "slack worse"]
    assert Incident.objects.count() == 1
    assert connection.connection is not None


def test_old_resolved_incidents_are_dropped_with_their_deliveries(channels: HttpCatcher, settings: Settings) -> None:
    settings.HEALTH_RETENTION_DAYS = 30
    for minutes, findings in [(0, [down()]), (5, []), (10, [down()])]:
        judge(make_sample(minutes, *findings))
    assert outbox.prune(NOW + timedelta(days=29)) == 0
    assert outbox.prune(NOW + timedelta(days=31)) == 5
    # The one still open stays, however old
    assert Incident.objects.get().resolved_at is None
    assert Delivery.objects.count() == 2
