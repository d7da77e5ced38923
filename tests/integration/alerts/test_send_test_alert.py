"""`send_test_alert`: does an alert arrive, before one is needed?"""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from api_service.models import ChannelState
from tests.http_catcher import HttpCatcher
from tests.integration.alerts.conftest import MAIL_PASSWORD
from tests.smtp_catcher import SmtpCatcher
from workers.alerts import channel_states
from workers.tasks import send_test_alert

pytestmark = pytest.mark.django_db


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
    assert (sentry.data["fingerprint"], sentry.data["level"]) == (["cache-alert", "test"], "info")


def test_it_sends_through_one_channel_when_asked(channels: HttpCatcher) -> None:
    assert json.loads(send("--channel", "slack", "--json")) == {
        "channels": [{"channel": "slack", "sent": True, "turned_on": False, "error": ""}]
    }
    assert len(channels.received()) == 1


def test_a_failed_channel_is_told_and_the_other_is_still_served(channels: HttpCatcher) -> None:
    channels.answer("/services/T000/B000/slack-secret-0001", status=404, body="no_team")
    out, error, code = fail()
    assert out == "slack: the service answered 404: no_team\nsentry: sent\n"
    assert (error, code) == ("The test message did not arrive at: slack", 1)


def test_without_a_channel_it_says_what_to_set() -> None:
    out, error, code = fail()
    assert (out, code) == ("", 2)
    assert error.startswith("No alert channel is configured: set SLACK_WEBHOOK_URL or SENTRY_DSN or ")


def test_a_chosen_channel_that_is_not_configured_is_an_error(channels: HttpCatcher, settings: Settings) -> None:
    settings.SENTRY_DSN = ""
    assert fail("--channel", "sentry")[1:] == ("No alert channel is configured: set SENTRY_DSN.", 2)
    assert channels.received() == []


def test_an_unknown_channel_is_refused_before_anything_is_sent(channels: HttpCatcher) -> None:
    assert "invalid choice: 'pigeon'" in fail("--channel", "pigeon")[1]
    assert channels.received() == []


def test_a_test_that_arrives_turns_the_channel_on_again(channels: HttpCatcher) -> None:
    channel_states.switch_off("slack", "the service answered 404: no_service", timezone.now())
    assert send("--channel", "slack") == "slack: sent; it was off and is on again\n"
    row = ChannelState.objects.get(name="slack")
    assert (row.disabled_at, row.reason) == (None, "")
    assert row.succeeded_at is not None


def test_a_test_that_does_not_arrive_leaves_it_off_and_says_why(channels: HttpCatcher) -> None:
    channels.answer(status=404, body="no_team")
    channel_states.switch_off("slack", "first reason", timezone.now())
    fail("--channel", "slack")
    row = ChannelState.objects.get(name="slack")
    assert row.disabled_at is not None
    assert (row.reason, row.error) == ("first reason", "the service answered 404: no_team")


def test_every_addressee_of_a_channel_gets_its_own(mail: SmtpCatcher) -> None:
    assert send("--channel", "email") == "email: sent\nemail:2: sent\n"
    assert [one.recipients for one in mail.mails] == [("ana@example.pe",), ("luis@example.pe",)]
    assert MAIL_PASSWORD not in send("--channel", "email", "--json")


def test_the_task_of_the_admin_button_sends_to_the_chosen_ones(mail: SmtpCatcher) -> None:
    result = send_test_alert(channels=["email:2", "slack"])
    assert [(one["channel"], one["sent"]) for one in result["channels"]] == [("email:2", True), ("slack", False)]
    assert "SLACK_WEBHOOK_URL" in result["channels"][1]["error"]
    assert [one.recipients for one in mail.mails] == [("luis@example.pe",)]
