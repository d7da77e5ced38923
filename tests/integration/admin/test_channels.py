"""The page of channels: what it shows, and what operators may do there."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone, translation

from api_service.admin.deliveries import Tried, outcome_since
from api_service.models import ChannelState
from tests.http_catcher import HttpCatcher
from tests.integration.admin.conftest import Sent, Staff
from workers import tasks
from workers.alerts import channel_states

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
    assert "el servicio respondió 404: no_service" in page
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


def waiting(client: Client, answer: Any) -> str:
    return client.get(answer.headers["location"], headers={"accept-language": "en"}).content.decode()


def test_a_test_alert_is_sent_by_a_worker_and_one_sees_it_arrive(
    admin_client: Client, http_catcher: HttpCatcher, settings: Any, sent: Sent
) -> None:
    settings.SLACK_WEBHOOK_URL = http_catcher.slack_webhook_url
    settings.ALERT_WEBHOOK_URL = f"{http_catcher.url}/refuses"
    settings.ALERT_WEBHOOK_SECRET = "a secret of the tests, long enough"
    channel_states.note_configured()
    http_catcher.answer(status=400, path="/refuses")
    assert f'href="{PAGE}run/"' in admin_client.get(PAGE).text
    answer = admin_client.post(f"{PAGE}run/", {"channels": ["slack", "webhook"]})
    assert 'data-live="2"' in waiting(admin_client, answer)
    name, kwargs = sent("health") or ("", {})
    assert (name, kwargs) == ("workers.tasks.send_test_alert", {"channels": ["slack", "webhook"]})
    send_test_alert: Any = tasks.send_test_alert
    send_test_alert(**kwargs)
    page = waiting(admin_client, answer)
    assert re.search(r"<td>slack</td><td><span [^>]+>arrived</span>", page)
    assert re.search(r"<td>webhook</td><td><span [^>]+>did not arrive</span></td><td><span lang=.en.>[^<]*400", page)
    assert 'data-live="2"' not in page
    assert LogEntry.objects.get().change_message == "channels=['slack', 'webhook']"


def test_none_chosen_is_every_channel_that_has_an_address(
    admin_client: Client, slack: ChannelState, sent: Sent
) -> None:
    ChannelState.objects.create(name="email", configured=True)
    ChannelState.objects.create(name="webhook")
    admin_client.post(f"{PAGE}run/", {})
    assert sent("health") == ("workers.tasks.send_test_alert", {"channels": ["email", "slack"]})


def test_where_no_channel_has_an_address_there_is_nothing_to_try(admin_client: Client, sent: Sent) -> None:
    asked = admin_client.get(f"{PAGE}run/", headers={"accept-language": "en"}).text
    tried = admin_client.post(f"{PAGE}run/", {}, headers={"accept-language": "en"}).text
    for page in (asked, tried):
        assert "no alert reaches anybody" in page
    assert sent("health") is None


def test_chosen_in_the_list_they_are_tried_without_a_form(
    admin_client: Client, slack: ChannelState, sent: Sent
) -> None:
    assert "not yet" in act(admin_client, "send_test", slack)
    assert sent("health") == ("workers.tasks.send_test_alert", {"channels": ["slack"]})


def test_a_broker_that_is_down_is_an_error_message(
    admin_client: Client, slack: ChannelState, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{free_port}/0")
    assert "Nothing was started" in act(admin_client, "send_test", slack)
    assert LogEntry.objects.count() == 0


def test_what_arrived_before_or_failed_later_is_told_apart(slack: ChannelState) -> None:
    now = timezone.now()
    at = now.timestamp() - 60
    slack.succeeded_at = now - timedelta(hours=1)
    assert outcome_since(slack, at) is Tried.NOT_YET
    slack.succeeded_at = now - timedelta(seconds=30)
    assert outcome_since(slack, at) is Tried.ARRIVED
    slack.failed_at = now
    assert outcome_since(slack, at) is Tried.FAILED


def test_a_test_that_arrived_is_not_shown_as_dropped_later(admin_client: Client, slack: ChannelState) -> None:
    url = f"{PAGE}run/wait/?after={slack.pk}&at={int(timezone.now().timestamp()) - 3600}&channel=slack"
    assert "in ten minutes" in admin_client.get(url, headers={"accept-language": "en"}).text
    slack.succeeded_at = timezone.now() - timedelta(minutes=58)
    slack.save()
    page = admin_client.get(url, headers={"accept-language": "en"}).text
    assert ">arrived<" in page
    assert "in ten minutes" not in page


@pytest.mark.parametrize("at", ["9" * 20, "9" * 400])
def test_a_moment_that_no_clock_shows_is_not_found(admin_client: Client, slack: ChannelState, at: str) -> None:
    assert admin_client.get(f"{PAGE}run/wait/?after={slack.pk}&at={at}&channel=slack").status_code == 404


@pytest.mark.parametrize("action", ["turn_on", "send_test"])
def test_who_may_only_look_does_neither(staff: Staff, slack: ChannelState, sent: Sent, action: str) -> None:
    client = staff("view_channelstate")
    act(client, action, slack)
    assert f"{PAGE}run/" not in client.get(PAGE).text
    assert client.post(f"{PAGE}run/", {}).status_code == 403
    slack.refresh_from_db()
    assert slack.disabled_at is not None
    assert sent("health") is None
