"""The Sentry form of an alert."""

import pytest

from tests.unit.alerts.factories import finding, message
from workers.alerts.channels.sentry import event_of


def test_all_alerts_of_one_cache_are_one_issue() -> None:
    opened, recovered = event_of(message("sentry")), event_of(message("sentry", event="recovered", severity="healthy"))
    assert opened["fingerprint"] == recovered["fingerprint"] == ["cache-health", "memcached"]


@pytest.mark.parametrize(("severity", "level"), [("healthy", "info"), ("warning", "warning"), ("unhealthy", "error")])
def test_the_level_follows_the_severity(severity: str, level: str) -> None:
    assert event_of(message("sentry", severity=severity))["level"] == level


def test_the_tags_name_the_backend_the_event_the_codes_and_a_single_node() -> None:
    assert event_of(message("sentry"))["tags"] == {
        "backend": "memcached",
        "severity": "unhealthy",
        "event": "opened",
        "codes": "node_down",
        "node": "10.0.0.7:11211",
    }


def test_two_nodes_are_no_tag() -> None:
    tags = dict(event_of(message("sentry", findings=[finding(node="a:1"), finding("node_slow", "b:1")]))["tags"])
    assert "node" not in tags
    assert tags["codes"] == "node_down,node_slow"


def test_a_repeated_delivery_is_the_same_event_for_sentry() -> None:
    assert event_of(message("sentry"))["event_id"] == event_of(message("sentry"))["event_id"] == message("sentry").id


def test_the_event_carries_what_to_do() -> None:
    extra = event_of(message("sentry"))["extra"]
    assert "arránquelo de nuevo" in str(extra["problems"])
    assert str(extra["incident"]).endswith("/admin/api_service/incident/3/change/")
