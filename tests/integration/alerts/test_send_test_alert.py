"""`send_test_alert`: does an alert arrive, before one is needed?"""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.http_catcher import HttpCatcher


def send(*arguments: str) -> str:
    out = io.StringIO()
    call_command("send_test_alert", *arguments, stdout=out)
    return out.getvalue()


def fail(*arguments: str) -> tuple[str, str, int]:
    """What it printed, the error's line and the exit code."""
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("send_test_alert", *arguments, stdout=out)
    return out.getvalue(), str(caught.value), caught.value.returncode


def test_it_sends_a_marked_message_through_each_channel(channels: HttpCatcher) -> None:
    assert send() == "slack: sent\nsentry: sent\n"
    (slack,) = channels.slack_messages()
    (sentry,) = channels.sentry_items("event")
    assert slack["blocks"][0]["text"]["text"] == "PRUEBA: esto no es un incidente"
    assert sentry.data["message"].startswith("PRUEBA: esto no es un incidente")
    # Not in the issue of the real alerts
    assert (sentry.data["fingerprint"], sentry.data["level"]) == (["cache-health-test"], "info")


def test_it_sends_through_one_channel_when_asked(channels: HttpCatcher) -> None:
    assert json.loads(send("--channel", "slack", "--json")) == {
        "channels": [{"channel": "slack", "sent": True, "error": ""}]
    }
    assert len(channels.received()) == 1


def test_a_failed_channel_is_told_and_the_other_is_still_served(channels: HttpCatcher) -> None:
    channels.answer("/services/T000/B000/slack-secret-0001", status=404, body="no_team")
    out, error, code = fail()
    assert out == "slack: the service answered 404: no_team\nsentry: sent\n"
    assert (error, code) == ("The test message did not arrive at: slack", 1)


def test_without_a_channel_it_says_what_to_set() -> None:
    assert fail() == ("", "No alert channel is configured: set SLACK_WEBHOOK_URL or SENTRY_DSN.", 2)


def test_a_chosen_channel_that_is_not_configured_is_an_error(channels: HttpCatcher, settings: Settings) -> None:
    settings.SENTRY_DSN = ""
    assert fail("--channel", "sentry")[1:] == ("No alert channel is configured: set SENTRY_DSN.", 2)
    assert channels.received() == []


def test_an_unknown_channel_is_refused_before_anything_is_sent(channels: HttpCatcher) -> None:
    assert "invalid choice: 'pigeon'" in fail("--channel", "pigeon")[1]
    assert channels.received() == []
