"""A channel that refuses for good is off, and the others are told; one that is busy is left alone."""

from datetime import timedelta

import pytest
from pytest_django import Settings

from api_service.models import ChannelState, Delivery
from tests.http_catcher import HttpCatcher
from tests.integration.alerts.conftest import NODES, NOW, down, judge
from tests.smtp_catcher import SmtpCatcher
from workers.alerts import channel_states, dispatch, outbox, trial
from workers.alerts.telling import tell
from workers.tasks import deliver_alerts

pytestmark = [pytest.mark.django_db, pytest.mark.db]

SLACK_PATH = "/services/T000/B000/slack-secret-0001"
SENTRY_PATH = "/api/42/envelope/"


def open_incident(minutes: float = 0, *nodes: str) -> None:
    judge(minutes, *(down(node) for node in nodes or NODES[:1]))
    tell(NOW + timedelta(minutes=minutes))


def deliver(minutes: float = 0) -> dispatch.DeliverySummary:
    return dispatch.deliver_due(NOW + timedelta(minutes=minutes))


def states(channel: str) -> list[tuple[str, str]]:
    return list(Delivery.objects.filter(channel=channel).order_by("pk").values_list("state", "error"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
@pytest.mark.parametrize(("channel", "path"), [("slack", SLACK_PATH), ("sentry", SENTRY_PATH)])
def test_a_refusal_for_good_turns_the_channel_off_and_does_not_stop_the_other(
    channels: HttpCatcher, caplog: pytest.LogCaptureFixture, channel: str, path: str, status: int
) -> None:
    channels.answer(path, status=status, body="no_service")
    open_incident()
    first, second = deliver(), deliver(1)
    # The alert itself, and that the other channel is off: in this run or the next
    assert (first["sent"] + second["sent"], first["failed"] + second["failed"]) == (2, 1)
    assert states(channel) == [("failed", f"the service answered {status}: no_service")]
    row = ChannelState.objects.get(name=channel)
    assert row.disabled_at is not None
    assert row.reason == f"the service answered {status}: no_service"
    assert row.reason in caplog.text


def test_the_others_are_told_once_why_it_is_off_whatever_their_routes(
    channels: HttpCatcher, mail: SmtpCatcher, settings: Settings
) -> None:
    settings.ALERT_ROUTES = "email=unhealthy:made_up"
    channels.answer(SLACK_PATH, status=404, body="no_service")
    open_incident()
    deliver()
    open_incident(5, *NODES[:2])
    assert deliver(5)["waiting"] == 0
    told = [item.data for item in channels.sentry_items("event") if item.data["tags"]["code"] == "channel_off"]
    assert len(told) == 1
    assert "slack" in told[0]["message"]
    assert "404: no_service" in told[0]["message"]
    # Side by side: whose comes first is chance
    assert sorted(str(one.message["To"]) for one in mail.mails) == ["ana@example.pe", "luis@example.pe"]
    assert "slack" in str(mail.mails[0].message["Subject"])
    # Slack itself was asked once and never again
    assert len(channels.received("/services/")) == 1


def test_what_waits_for_a_channel_that_goes_off_is_kept_as_failed(channels: HttpCatcher) -> None:
    channels.answer(SLACK_PATH, status=410, body="gone")
    open_incident()
    open_incident(1, *NODES[:2])
    deliver(1)
    assert states("slack") == [
        ("failed", "the service answered 410: gone"),
        ("failed", "the channel is off: the service answered 410: gone"),
    ]


def test_what_a_dead_sender_held_when_the_channel_went_off_is_given_up_after_its_lease(channels: HttpCatcher) -> None:
    open_incident()
    assert outbox.claim_next(NOW, "slack") is not None
    channel_states.switch_off("slack", "gone", NOW)
    deliver(1)
    assert states("slack") == [("pending", "")]
    assert deliver(3)["failed"] == 1
    assert states("slack") == [("failed", "the channel is off: gone")]


def test_two_channels_that_refuse_end_in_peace(channels: HttpCatcher) -> None:
    """Each would tell the other: there is nobody left to tell."""
    channels.answer(status=404)
    open_incident()
    for minutes in range(3):
        deliver(minutes)
    assert ChannelState.objects.filter(disabled_at__isnull=False).count() == 2
    assert not Delivery.objects.filter(state="pending").exists()


def test_when_every_channel_is_off_the_task_fails_so_that_who_watches_the_schedules_tells(
    channels: HttpCatcher,
) -> None:
    channels.answer(SLACK_PATH, status=404, body="no_service")
    judge(0, down())
    assert deliver_alerts()["written"] == 2
    # Sentry was told that Slack is off, and then refuses as well
    channel_states.switch_off("sentry", "the service answered 403: key disabled", NOW)
    judge(5, *map(down, NODES[:2]))
    with pytest.raises(channel_states.NobodyHears, match=r"no_service.*key disabled"):
        deliver_alerts()
    # It has done its work nevertheless: what can be tried again by hand is there
    assert [state for state, _error in states("sentry")][-1] == "failed"
    channel_states.turn_on("slack")
    deliver_alerts()


def test_without_any_channel_the_task_does_not_fail() -> None:
    judge(0, down())
    assert deliver_alerts()["written"] == 0


def test_turned_on_again_it_gets_what_is_tried_again(channels: HttpCatcher) -> None:
    channels.answer(SLACK_PATH, status=404, times=1)
    open_incident()
    deliver()
    assert channel_states.turn_on("slack") is True
    assert channel_states.turn_on("slack") is False
    Delivery.objects.filter(channel="slack").update(state=Delivery.State.PENDING)
    deliver(10)
    assert [state for state, _error in states("slack")] == ["sent"]


@pytest.mark.parametrize(("channel", "path"), [("slack", SLACK_PATH), ("sentry", SENTRY_PATH)])
def test_a_busy_channel_rests_as_long_as_it_said_for_everything(channels: HttpCatcher, channel: str, path: str) -> None:
    channels.answer(path, status=429, headers={"Retry-After": "600"}, times=1)
    open_incident()
    deliver()
    # Another incident, which nobody has tried yet: it waits as well
    open_incident(5, *NODES[:2])
    assert deliver(9.9)["retried"] == 0
    assert len(channels.received(path)) == 1
    row = ChannelState.objects.get(name=channel)
    assert row.resting_until is not None
    assert timedelta(minutes=10) <= row.resting_until - NOW < timedelta(minutes=10, seconds=30)
    deliver(10.6)
    assert [state for state, _error in states(channel)] == ["sent", "sent"]


def test_a_rest_of_a_year_is_a_day() -> None:
    channel_states.rest("slack", 365 * 86400, NOW, "busy")
    assert ChannelState.objects.get().resting_until == NOW + timedelta(days=1)


def test_a_rest_by_a_clock_that_was_ahead_does_not_last_until_then(channels: HttpCatcher) -> None:
    channel_states.rest("slack", 60, NOW + timedelta(days=400), "busy")
    open_incident()
    deliver()
    assert [state for state, _error in states("slack")] == ["sent"]


def test_a_test_message_that_arrives_ends_a_rest(channels: HttpCatcher) -> None:
    channel_states.rest("slack", 86400, NOW, "busy")
    trial.send(["slack"], NOW)
    open_incident()
    deliver()
    assert [state for state, _error in states("slack")] == ["sent"]


def test_who_turns_a_channel_on_ends_its_rest() -> None:
    channel_states.rest("slack", 86400, NOW, "busy")
    assert channel_states.turn_on("slack") is False
    assert ChannelState.objects.get().resting_until is None


def test_the_workers_write_down_what_is_configured(channels: HttpCatcher, settings: Settings) -> None:
    channel_states.note_configured()
    known = dict(ChannelState.objects.values_list("name", "configured"))
    assert known == {"slack": True, "sentry": True, "email": False, "webhook": False, "apprise": False}
    settings.SENTRY_DSN = ""
    channel_states.note_configured()
    assert ChannelState.objects.get(name="sentry").configured is False


def test_what_is_known_already_is_not_written_again(channels: HttpCatcher, django_assert_num_queries: object) -> None:
    channel_states.note_configured()
    with django_assert_num_queries(1):  # type: ignore[operator]
        channel_states.note_configured()


def test_success_and_failure_are_on_record(channels: HttpCatcher) -> None:
    channels.answer(SLACK_PATH, status=500)
    open_incident()
    deliver()
    slack, sentry = ChannelState.objects.get(name="slack"), ChannelState.objects.get(name="sentry")
    assert (slack.succeeded_at, slack.error) == (None, "the service answered 500: ok")
    assert sentry.succeeded_at is not None
    assert sentry.error == ""
