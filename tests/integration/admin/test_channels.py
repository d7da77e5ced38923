"""The page of channels: what it shows, and what operators may do there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation

from api_service.models import ChannelState
from tests.integration.admin.conftest import Sent, Staff

pytestmark = pytest.mark.django_db

PAGE = "/admin/api_service/channelstate/"


@pytest.fixture
def slack() -> ChannelState:
    return ChannelState.objects.create(
        name="slack", configured=True, disabled_at=timezone.now(), reason="the service answered 404: no_service"
    )


def act(client: Client, action: str, *rows: ChannelState) -> str:
    data: dict[str, Any] = {"action": action, "_selected_action": [row.pk for row in rows]}
    with translation.override("en"):
        return client.post(PAGE, data, follow=True, headers={"accept-language": "en"}).content.decode()


def test_it_says_which_channel_is_off_and_why(admin_client: Client, slack: ChannelState) -> None:
    ChannelState.objects.create(name="email", configured=True, succeeded_at=timezone.now())
    ChannelState.objects.create(name="webhook")
    ChannelState.objects.create(name="sentry", configured=True, resting_until=timezone.now() + timedelta(minutes=5))
    page = admin_client.get(PAGE, headers={"accept-language": "es"}).content.decode()
    assert "the service answered 404: no_service" in page
    for word in ("apagado", "encendido", "sin configurar", "pidió que se le deje en paz"):
        assert f">{word}<" in page


def test_turning_on_again_is_one_action(admin_client: Client, slack: ChannelState) -> None:
    assert "1 channel is on again" in act(admin_client, "turn_on", slack)
    slack.refresh_from_db()
    assert (slack.disabled_at, slack.reason) == (None, "")
    assert "none of these is off" in act(admin_client, "turn_on", slack)


def test_turning_on_ends_a_rest(admin_client: Client) -> None:
    row = ChannelState.objects.create(name="slack", resting_until=timezone.now() + timedelta(hours=20))
    assert "1 channel is on again" in act(admin_client, "turn_on", row)
    row.refresh_from_db()
    assert row.resting_until is None


def test_a_test_message_is_sent_by_a_worker(admin_client: Client, slack: ChannelState, sent: Sent) -> None:
    assert "on its way to: slack" in act(admin_client, "send_test", slack)
    assert sent("health") == ("workers.tasks.send_test_alert", {"channels": ["slack"]})


@pytest.mark.parametrize("action", ["turn_on", "send_test"])
def test_who_may_only_look_does_neither(staff: Staff, slack: ChannelState, sent: Sent, action: str) -> None:
    act(staff("view_channelstate"), action, slack)
    slack.refresh_from_db()
    assert slack.disabled_at is not None
    assert sent("health") is None
