"""From the outbox to Slack and Sentry, over HTTP."""

import logging
import re
import threading
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from django.db import connection, connections
from pytest_django import Settings

from api_service.models import Delivery, Incident, Notice, Transition
from api_service.services.backends import Deadline
from tests.http_catcher import HttpCatcher
from tests.integration.alerts.conftest import NODES, NOW, down, judge, slow
from tests.waiting import wait_until
from workers.alerts import dispatch, outbox, post, telling
from workers.alerts.channels import sentry
from workers.alerts.channels.sentry import ConfirmingTransport

pytestmark = pytest.mark.django_db

OPENED = "Problema: el nodo no responde (10.0.0.1:11211)"
OVER = "Superado: el nodo no responde (10.0.0.1:11211)"

SLACK_PATH = "/services/T000/B000/slack-secret-0001"
SENTRY_PATH = "/api/42/envelope/"


def open_incident() -> None:
    judge(0, down())
    telling.tell(NOW)


def close_incident() -> None:
    judge(5)
    telling.tell(NOW + timedelta(minutes=5))


def deliver(minutes: float = 0) -> dispatch.DeliverySummary:
    return dispatch.deliver_due(NOW + timedelta(minutes=minutes))


def row(channel: str, number: int = 0) -> Delivery:
    """The channel's first delivery, its second, …"""
    return Delivery.objects.filter(channel=channel).order_by("pk")[number]


def events(catcher: HttpCatcher) -> list[dict[str, Any]]:
    return [item.data for item in catcher.sentry_items("event")]


def headers_of(catcher: HttpCatcher) -> list[str]:
    return [body["blocks"][0]["text"]["text"] for body in catcher.slack_messages()]


def test_an_incident_and_its_recovery_arrive_once_each_at_both_channels(channels: HttpCatcher) -> None:
    open_incident()
    assert deliver() == {"sent": 2, "retried": 0, "failed": 0, "waiting": 0}
    close_incident()
    assert deliver(5) == {"sent": 2, "retried": 0, "failed": 0, "waiting": 0}
    assert deliver(60) == {"sent": 0, "retried": 0, "failed": 0, "waiting": 0}
    assert headers_of(channels) == [OPENED, OVER]
    assert [event["tags"]["event"] for event in events(channels)] == ["opened", "resolved"]
    assert len(channels.received()) == 4


def test_slack_receives_block_kit_in_spanish(channels: HttpCatcher) -> None:
    open_incident()
    deliver()
    (body,) = channels.slack_messages()
    assert body["text"].startswith(OPENED)
    said = str(body["blocks"])
    assert "El nodo 10.0.0.1:11211 no responde: connection refused" in said
    assert "2026-01-28 10:30, hora de Lima" in said
    assert f"https://cache.example.pe/admin/api_service/incident/{Incident.objects.get().pk}/change/" in said
    assert channels.received("/services/")[0].headers["content-type"] == "application/json"


def test_both_channels_speak_english_when_the_setting_says_so(channels: HttpCatcher, settings: Settings) -> None:
    settings.ALERT_LANGUAGE = "en"
    open_incident()
    deliver()
    assert headers_of(channels) == ["Trouble: node does not answer (10.0.0.1:11211)"]
    assert "Node 10.0.0.1:11211 does not answer" in str(channels.slack_messages()[0]["blocks"])
    assert events(channels)[0]["message"].startswith("Trouble: node does not answer (10.0.0.1:11211)\n")


def test_sentry_receives_an_envelope_that_groups_by_code(channels: HttpCatcher, settings: Settings) -> None:
    settings.SENTRY_ENVIRONMENT = "lima"
    open_incident()
    close_incident()
    deliver(5)
    deliver(5)
    opened, recovered = events(channels)
    assert opened["fingerprint"] == recovered["fingerprint"] == ["cache-alert", "node_down"]
    assert (opened["level"], recovered["level"]) == ("error", "info")
    assert opened["environment"] == "lima"
    assert opened["tags"] == {
        "backend": "memcached",
        "severity": "unhealthy",
        "event": "opened",
        "code": "node_down",
        "node": "10.0.0.1:11211",
    }
    request = channels.received("/api/")[0]
    assert request.path == SENTRY_PATH
    assert "sentry_key=0123456789abcdef0123456789abcdef" in request.headers["x-sentry-auth"]


def test_a_sent_row_says_when_and_how_often_it_was_tried(channels: HttpCatcher) -> None:
    open_incident()
    deliver(1)
    sent = row("slack")
    assert (sent.state, sent.attempts, sent.error, sent.leased_until) == ("sent", 1, "", None)
    assert sent.sent_at is not None
    assert sent.sent_at >= NOW + timedelta(minutes=1)


@pytest.mark.parametrize(("channel", "path"), [("slack", SLACK_PATH), ("sentry", SENTRY_PATH)])
def test_a_busy_channel_is_asked_again_when_it_said(channels: HttpCatcher, channel: str, path: str) -> None:
    channels.answer(path, status=429, headers={"Retry-After": "600"}, times=1)
    open_incident()
    assert deliver() == {"sent": 1, "retried": 1, "failed": 0, "waiting": 1}
    waiting = row(channel)
    assert waiting.state == "pending"
    assert timedelta(minutes=10) <= waiting.due_at - NOW < timedelta(minutes=10, seconds=30)
    assert deliver(9.9)["sent"] == 0
    assert deliver(10.5) == {"sent": 1, "retried": 0, "failed": 0, "waiting": 0}
    assert row(channel).attempts == 2


@pytest.mark.parametrize("channel", ["slack", "sentry"])
def test_a_channel_that_is_down_is_tried_for_a_day_and_then_given_up(
    channels: HttpCatcher, caplog: pytest.LogCaptureFixture, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a send takes on this machine is no part of the wait
    monkeypatch.setattr(dispatch, "_clock_from", lambda now: lambda: now)
    channels.answer(SLACK_PATH if channel == "slack" else SENTRY_PATH, status=503)
    open_incident()
    waits: list[float] = []
    before = NOW
    while dispatch.deliver_due(before)["retried"]:
        waits.append((row(channel).due_at - before).total_seconds())
        before = row(channel).due_at + timedelta(seconds=1)
    assert (row(channel).state, row(channel).error) == ("failed", "the service answered 503: ok")
    assert before - NOW >= timedelta(hours=24)
    assert 30 <= waits[0] <= 36
    assert 60 <= waits[1] <= 72
    assert 1800 <= max(waits) <= 2160
    assert "failed for good" in caplog.text


def test_nobody_listening_is_retried(channels: HttpCatcher, settings: Settings, free_port: int) -> None:
    settings.SLACK_WEBHOOK_URL = f"http://127.0.0.1:{free_port}/services/T000/B000/slack-secret-0001"
    open_incident()
    assert deliver() == {"sent": 1, "retried": 1, "failed": 0, "waiting": 1}
    assert row("slack").error.startswith("no connection")


@pytest.mark.django_db(transaction=True)
def test_a_channel_that_hangs_does_not_delay_the_other(channels: HttpCatcher) -> None:
    answers = threading.Event()
    channels.answer(SLACK_PATH, hold=answers, times=1)
    open_incident()

    def run() -> None:
        try:
            deliver()
        finally:
            connections.close_all()

    run_thread = threading.Thread(target=run)
    run_thread.start()
    try:
        channels.wait_for(1, SLACK_PATH)
        # Slack has been asked and keeps silent; Sentry's row is done meanwhile
        wait_until(lambda: row("sentry").state == "sent", timeout=5, message="Sentry served while Slack hangs")
        assert row("slack").state == "pending"
    finally:
        answers.set()
        run_thread.join(20)
    assert row("slack").state == "sent"


def test_what_sentry_has_accepted_of_a_message_is_not_sent_again_with_the_rest(channels: HttpCatcher) -> None:
    judge(0, down(), slow(NODES[1]), {**slow(NODES[1]), "code": "memory_high"})
    telling.tell(NOW)
    for minutes in (0, 5):
        channels.answer(SENTRY_PATH, times=1)
        channels.answer(SENTRY_PATH, times=1, status=503)
        assert deliver(minutes)["retried"] == 1
    assert deliver(15)["sent"] == 1

    sent = [event["tags"]["code"] for event in events(channels)]
    first, second, third = dict.fromkeys(sent)
    assert sent == [first, second, second, third, third]
    assert len({event["event_id"] for event in events(channels)}) == 3
    assert (row("sentry").state, row("sentry").attempts) == ("sent", 3)


def test_a_recovery_never_arrives_before_its_opening(channels: HttpCatcher) -> None:
    channels.answer(SLACK_PATH, status=500, times=2)
    open_incident()
    assert deliver()["retried"] == 1
    close_incident()
    # Both are there, the opening is due: it is refused once more, and the recovery waits behind it
    deliver(5)
    assert row("slack", 1).attempts == 0
    deliver(10)
    said = [body["blocks"][0]["text"]["text"] for body in channels.slack_messages()]
    assert said == [*[OPENED] * 3, OVER]


def test_an_end_is_told_though_its_beginning_was_given_up(channels: HttpCatcher) -> None:
    channels.answer(SLACK_PATH, status=500, times=1)
    open_incident()
    Delivery.objects.filter(channel="slack").update(created_at=NOW - timedelta(hours=24))
    deliver()
    close_incident()
    deliver(5)
    assert (row("slack").state, row("slack", 1).state) == ("failed", "sent")


def test_another_incident_does_not_wait_for_one_that_cannot_be_told(channels: HttpCatcher) -> None:
    open_incident()
    Delivery.objects.filter(channel="slack").update(facts={})
    deliver()
    judge(5, down(), down(NODES[1]))
    telling.tell(NOW + timedelta(minutes=5))
    deliver(5)
    assert (row("slack").state, row("slack", 1).state) == ("pending", "sent")


def test_a_thousand_messages_that_wait_for_a_channel_are_sorted_in_no_time() -> None:
    """A day of a Slack that is down: each tells more of an incident of the one before it."""
    incidents = Incident.objects.bulk_create(
        Incident(code="node_down", node=str(number), severity="warning", current="warning", since=NOW, opened_at=NOW)
        for number in range(1000)
    )
    notices = Notice.objects.bulk_create(Notice(created_at=NOW, severity="warning") for _ in incidents)
    pairs = [*zip(incidents, notices, strict=True), *zip(incidents, notices[1:], strict=False)]
    Transition.objects.bulk_create(
        Transition(incident=incident, event="reminded", at=NOW, telling="told", notice=notice)
        for incident, notice in pairs
    )
    Delivery.objects.bulk_create(
        Delivery(notice=notice, channel="slack", created_at=NOW, due_at=NOW) for notice in notices
    )
    if connection.vendor == "postgresql":
        # As its autovacuum does within a minute: of tables that seem to be empty any plan looks good
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    claimed, took = [], []
    for _ in range(3):
        started = monotonic()
        claimed.append(outbox.claim_next(NOW, "slack"))
        took.append(monotonic() - started)
    # While the first is on its way all the others wait behind it
    assert [one and one.notice_id for one in claimed] == [notices[0].pk, None, None]
    # The quickest of three: a machine may stall for longer than any of them takes
    assert min(took) < 1


def test_a_message_that_cannot_be_written_does_not_stop_the_others(
    channels: HttpCatcher, caplog: pytest.LogCaptureFixture
) -> None:
    open_incident()
    Delivery.objects.filter(channel="slack").update(facts={})
    assert deliver() == {"sent": 1, "retried": 1, "failed": 0, "waiting": 1}
    assert "KeyError" in row("slack").error
    assert "Traceback" in caplog.text


def test_a_channel_switched_off_meanwhile_says_what_to_set(channels: HttpCatcher, settings: Settings) -> None:
    open_incident()
    settings.SLACK_WEBHOOK_URL = ""
    assert deliver()["retried"] == 1
    assert row("slack").error == "slack is not configured in this process: set SLACK_WEBHOOK_URL"


def test_a_channel_that_no_longer_exists_fails_for_good(channels: HttpCatcher) -> None:
    open_incident()
    Delivery.objects.filter(channel="slack").update(channel="pigeon")
    assert deliver()["failed"] == 1
    assert "pigeon" in row("pigeon").error


def test_a_run_sends_no_more_than_its_limit(channels: HttpCatcher) -> None:
    open_incident()
    close_incident()
    assert dispatch.deliver_due(NOW + timedelta(minutes=5), limit=3) == {
        "sent": 3,
        "retried": 0,
        "failed": 0,
        "waiting": 1,
    }
    assert deliver(6)["sent"] == 1


def test_a_run_begins_nothing_after_its_deadline(channels: HttpCatcher) -> None:
    open_incident()
    assert dispatch.deliver_due(NOW, deadline=0.0)["sent"] == 0
    assert channels.received() == []


def test_a_leased_row_is_left_alone_until_the_lease_ends(channels: HttpCatcher) -> None:
    open_incident()
    Delivery.objects.update(leased_until=NOW + timedelta(seconds=120), attempts=1)
    assert deliver(1.9)["sent"] == 0
    assert deliver(2.1)["sent"] == 2


def test_a_late_sender_does_not_overwrite_the_outcome_of_the_one_who_took_over(channels: HttpCatcher) -> None:
    from workers.alerts import outbox

    open_incident()
    slow_sender = outbox.claim_next(NOW, "slack")
    after_lease = NOW + timedelta(minutes=3)
    successor = outbox.claim_next(after_lease, "slack")
    assert slow_sender is not None
    assert successor is not None
    assert outbox.mark_failed(slow_sender, "too late") is False
    assert outbox.mark_sent(successor, after_lease) is True
    assert row("slack").state == "sent"


SECRETS = re.compile("slack-secret-0001|B000|0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize("failure", ["refused", "unreachable", "none"])
def test_no_secret_reaches_logs_rows_or_the_other_channel(
    channels: HttpCatcher, settings: Settings, caplog: pytest.LogCaptureFixture, failure: str, free_port: int
) -> None:
    from api_service.services.redaction import RedactingFormatter

    caplog.set_level(logging.DEBUG, logger="workers")
    if failure == "refused":
        channels.answer(status=404, body=f"no webhook {SLACK_PATH} {channels.sentry_dsn}")
    if failure == "unreachable":
        settings.SLACK_WEBHOOK_URL = f"http://127.0.0.1:{free_port}{SLACK_PATH}"
        settings.SENTRY_DSN = f"http://0123456789abcdef0123456789abcdef@127.0.0.1:{free_port}/42"
    open_incident()
    deliver()
    formatter = RedactingFormatter("%(message)s")
    # The exception's own text and the rows are clean by themselves; whole lines also pass the formatter
    ours = [formatter.format(record) for record in caplog.records if record.name.startswith("workers")]
    assert ours
    assert not SECRETS.search("\n".join(ours))
    assert not SECRETS.search(str(list(Delivery.objects.values())) + str(list(Incident.objects.values())))
    slack = b"".join(request.content for request in channels.received("/services/"))
    sentry = b"".join(request.content for request in channels.received("/api/"))
    assert not SECRETS.search(slack.decode())
    assert not SECRETS.search(sentry.decode())
    assert "baggage" not in str([dict(request.headers) for request in channels.received()])


def test_the_events_of_one_message_share_the_time_of_one_send(
    channels: HttpCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer within the time, all of them far beyond it: to begin anew each time would never come to the last.

    Each takes 5 s of a clock that is played, so half a second of real time is left for the third, which gets none.
    """

    class Played(Deadline):
        @classmethod
        def after(cls, seconds: float) -> Deadline:
            return cls(played() + seconds)

        def left(self) -> float:
            return max(0.0, self.at - played())

    def played() -> float:
        return 5.0 * len(channels.received("/api/"))

    never = threading.Event()
    monkeypatch.setattr(sentry, "SEND_SECONDS", 10.5)
    monkeypatch.setattr(sentry, "Deadline", Played)
    channels.answer(SENTRY_PATH, times=2)
    channels.answer(SENTRY_PATH, hold=never)
    judge(0, *({**down(), "code": f"code_{number}"} for number in range(5)))
    telling.tell(NOW)
    started = monotonic()
    assert deliver() == {"sent": 1, "retried": 1, "failed": 0, "waiting": 1}
    assert monotonic() - started < post.PATIENCE.read
    assert (row("slack").state, row("sentry").state) == ("sent", "pending")
    begun = [event["event_id"] for event in events(channels)]
    # On a machine that stalls the third is given up before it leaves
    assert len(begun) in {2, 3}
    channels.answer(SENTRY_PATH)
    never.set()
    monkeypatch.setattr(sentry, "Deadline", Deadline)
    assert deliver(5)["sent"] == 1
    again = [event["event_id"] for event in events(channels)[len(begun) :]]
    # Whether the one that was begun has arrived nobody can say: it comes again with its id
    assert again[: len(begun) - 2] == begun[2:]
    assert (len(again), len({*begun[:2], *again})) == (3, 5)


def test_the_sentry_transport_needs_a_dsn_to_know_where_to_post() -> None:
    from sentry_sdk.envelope import Envelope

    from workers.alerts.channels import ChannelError

    with pytest.raises(ChannelError) as caught:
        ConfirmingTransport().capture_envelope(Envelope())
    assert caught.value.permanent


def test_what_was_written_before_the_send_is_what_arrives(channels: HttpCatcher) -> None:
    """The incident goes on; the message of an hour ago still tells what was true then."""
    open_incident()
    Incident.objects.update(severity="warning", value="other", since=datetime(2020, 1, 1, tzinfo=NOW.tzinfo))
    deliver(55)
    assert events(channels)[0]["tags"]["severity"] == "unhealthy"
    assert "2026-01-28 10:30" in channels.slack_messages()[0]["text"]
