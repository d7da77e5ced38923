"""The Sentry form of an alert."""

import json
from typing import Any

import pytest

from tests.unit.alerts.factories import channel_off, hostile, message, over, step
from workers.alerts.channels.sentry import events_of
from workers.alerts.messages import Message


def event(sent: Message) -> dict[str, Any]:
    (only,) = events_of(sent)
    return dict(only)


def test_the_beginning_and_the_end_of_a_code_are_one_issue() -> None:
    opened, ended = event(message()), event(message(over()))
    assert opened["fingerprint"] == ended["fingerprint"] == ["cache-alert", "node_down"]
    assert (opened["level"], ended["level"]) == ("error", "info")


def test_a_hundred_nodes_are_one_event_and_two_codes_are_two() -> None:
    nodes = [step(node=f"node-{number}:1") for number in range(100)]
    down, slow = events_of(message(*nodes, step("node_slow", "a:1", severity="warning")))
    assert (down["fingerprint"], slow["fingerprint"]) == (["cache-alert", "node_down"], ["cache-alert", "node_slow"])
    assert (down["level"], slow["level"]) == ("error", "warning")
    assert "and 90 more" in str(down["message"]) or "y 90 más" in str(down["message"])
    assert down["event_id"] != slow["event_id"]


def test_a_message_about_very_many_codes_is_few_events() -> None:
    codes = [step(f"code_{number:02}") for number in range(40)]
    events = events_of(message(*codes))
    assert len(events) == 6
    assert events[-1]["fingerprint"] == ["cache-alert", "several"]
    assert "code_05" in str(events[-1]["message"])


@pytest.mark.parametrize(("severity", "level"), [("healthy", "info"), ("warning", "warning"), ("unhealthy", "error")])
def test_the_level_follows_the_severity(severity: str, level: str) -> None:
    assert event(message(severity=severity))["level"] == level


def test_the_tags_name_the_backend_the_event_the_code_and_a_single_node() -> None:
    assert event(message())["tags"] == {
        "backend": "memcached",
        "severity": "unhealthy",
        "event": "opened",
        "code": "node_down",
        "node": "10.0.0.7:11211",
    }


def test_two_nodes_are_no_tag() -> None:
    assert "node" not in event(message(step(node="a:1"), step(node="b:1")))["tags"]


def test_a_repeated_delivery_is_the_same_event_for_sentry() -> None:
    assert event(message())["event_id"] == event(message())["event_id"]


def test_the_event_carries_what_to_do() -> None:
    extra = event(message())["extra"]
    assert "arránquelo de nuevo" in str(extra["problems"])
    assert str(extra["problems"][0]["incident"]).endswith("/admin/api_service/incident/3/change/")


def test_a_channel_that_is_off_is_an_issue_of_its_own() -> None:
    sent = event(channel_off())
    assert (sent["fingerprint"], sent["level"]) == (["cache-alert", "channel_off"], "warning")
    assert "no_service" in sent["message"]


def test_no_limit_of_sentry_is_exceeded_by_hostile_content() -> None:
    for sent in events_of(hostile()):
        assert len(str(sent["message"])) <= 8192
        assert len(json.dumps(sent, default=str)) <= 1_000_000
        tags: dict[str, str] = dict(sent["tags"])
        assert all(len(name) <= 32 and 1 <= len(value) <= 200 for name, value in tags.items())
        assert not any("\n" in value for value in tags.values())
