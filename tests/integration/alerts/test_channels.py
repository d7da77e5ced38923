"""E-mail, webhook and Apprise, each to a real server on this machine."""

import base64
import hashlib
import hmac
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from time import monotonic

import jsonschema
import pytest
from pytest_django import Settings

from api_service.models import ChannelState, Delivery
from tests.black_holes import BlackHole
from tests.http_catcher import HttpCatcher
from tests.integration.alerts.conftest import MAIL_PASSWORD, NODES, NOW, WEBHOOK_SECRET, down, judge
from tests.smtp_catcher import SmtpCatcher
from tests.waiting import wait_until
from workers import tasks
from workers.alerts import dispatch, outbox
from workers.alerts.channels import SEND_SECONDS, email
from workers.alerts.telling import tell

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[3]
OPENED = "Problema: el nodo no responde (10.0.0.1:11211)"
HOOK = "/hooks/webhook-path-secret-0001"


def open_incident(minutes: float = 0, **values: str) -> None:
    judge(minutes, {**down(), **values})
    tell(NOW + timedelta(minutes=minutes))


def deliver(minutes: float = 0) -> dispatch.DeliverySummary:
    return dispatch.deliver_due(NOW + timedelta(minutes=minutes))


def ends() -> dict[str, tuple[str, str]]:
    return {name: (state, error) for name, state, error in Delivery.objects.values_list("channel", "state", "error")}


# -- E-mail ----------------------------------------------------------------------------------------------------------


def test_each_person_gets_a_mail_in_text_and_html(mail: SmtpCatcher) -> None:
    open_incident()
    assert deliver()["sent"] == 2
    assert sorted(one.recipients for one in mail.mails) == [("ana@example.pe",), ("luis@example.pe",)]
    first = mail.mails[0]
    assert (first.sender, first.message["From"]) == ("cache@example.pe", "Cache <cache@example.pe>")
    assert first.message["Subject"] == OPENED
    assert "El nodo 10.0.0.1:11211 no responde: connection refused" in first.part("plain")
    assert "<h2>Problema: el nodo no responde (10.0.0.1:11211)</h2>" in first.part("html")
    assert "https://cache.example.pe/admin/api_service/incident/" in first.part("html")
    assert first.message["Auto-Submitted"] == "auto-generated"


def test_mails_about_one_incident_are_one_thread_with_ids_of_their_own(mail: SmtpCatcher) -> None:
    open_incident()
    deliver()
    judge(5)
    tell(NOW + timedelta(minutes=5))
    deliver(5)
    of_ana = [one.message for one in mail.mails if one.recipients == ("ana@example.pe",)]
    assert len(of_ana) == 2
    assert of_ana[0]["References"] == of_ana[1]["References"]
    assert of_ana[0]["Message-ID"] != of_ana[1]["Message-ID"]


def test_hostile_text_makes_no_header_and_no_markup(mail: SmtpCatcher) -> None:
    node = "evil\r\nBcc: all@example.com\r\n\r\n<script>alert(1)</script>"
    open_incident(node=node, value="<b>bold</b>\r\nX-Injected: 1")
    assert deliver()["sent"] == 2
    first = mail.mails[0]
    assert first.recipients in {("ana@example.pe",), ("luis@example.pe",)}
    assert first.message["Bcc"] is None
    assert first.message["X-Injected"] is None
    assert "\n" not in str(first.message["Subject"])
    assert "<script>" not in first.part("html")
    assert "<b>bold" not in first.part("html")


def test_an_address_that_does_not_exist_is_off_and_the_other_person_is_told(mail: SmtpCatcher) -> None:
    mail.refuse("RCPT", "550 5.1.1 no such user")
    open_incident()
    first, second = deliver(), deliver(1)
    # The alert itself, and that the first address is off: in this run or the next
    assert (first["sent"] + second["sent"], first["failed"], second["waiting"]) == (2, 1, 0)
    ((refused, reason),) = ChannelState.objects.filter(disabled_at__isnull=False).values_list("name", "reason")
    assert reason == "the mail server refused the address: 550 5.1.1 no such user"
    other = {"email": "email:2", "email:2": "email"}[refused]
    assert ends()[other] == ("sent", "")
    assert refused in str(mail.mails[-1].message["Subject"])


@pytest.mark.parametrize(("command", "reply"), [("RCPT", "450 greylisted"), ("MAIL", "451 later"), (".", "452 full")])
def test_a_server_that_is_busy_is_tried_again(mail: SmtpCatcher, command: str, reply: str) -> None:
    mail.refuse(command, reply, times=2)
    open_incident()
    assert deliver()["retried"] == 2
    assert reply in ends()["email"][1]
    assert deliver(1)["sent"] == 2


def test_a_refused_password_turns_mail_off_and_is_in_no_row(mail: SmtpCatcher) -> None:
    credentials = base64.b64encode(f"\0cache\0{MAIL_PASSWORD}".encode()).decode()
    mail.refuse("AUTH", f"535 wrong password {MAIL_PASSWORD}", times=2)
    open_incident()
    assert deliver()["failed"] == 2
    rows = str(list(Delivery.objects.values()) + list(ChannelState.objects.values()))
    assert "535 wrong password [redacted]" in rows
    assert MAIL_PASSWORD not in rows
    assert credentials not in rows


def test_a_mail_server_that_is_gone_is_tried_again(mail: SmtpCatcher, settings: Settings, free_port: int) -> None:
    settings.EMAIL_PORT = free_port
    open_incident()
    assert deliver()["retried"] == 2
    assert ends()["email"][1].startswith("no connection to the mail server")


@pytest.mark.parametrize("dripping", [False, True], ids=["silent", "dripping"])
@pytest.mark.parametrize("command", ["220", "EHLO", "AUTH", "RCPT", "."])
def test_a_mail_server_that_is_slow_at_any_point_ends_in_time_and_is_tried_again(
    mail: SmtpCatcher, monkeypatch: pytest.MonkeyPatch, command: str, dripping: bool
) -> None:
    monkeypatch.setattr(email, "SEND_SECONDS", 0.6)
    mail.hold(command, dripping=dripping)
    open_incident()
    started = monotonic()
    assert deliver()["retried"] == 2
    assert monotonic() - started < SEND_SECONDS
    assert ends()["email"][0] == "pending"
    assert mail.mails == []


def test_a_mail_that_was_accepted_has_arrived_however_slow_the_farewell_is(
    mail: SmtpCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cut is made by hand, once both farewells wait: how long a mail takes on this machine is not what is told."""
    cuts: list[Timer] = []

    def begin(cut: Timer) -> None:
        cuts.append(cut)

    monkeypatch.setattr(Timer, "start", begin)
    mail.hold("QUIT")
    open_incident()

    def time_is_over() -> None:
        wait_until(lambda: mail.waiting.count("QUIT") == 2)
        for cut in cuts:
            cut.function()

    with ThreadPoolExecutor(1) as clock:
        ended = clock.submit(time_is_over)
        assert deliver()["sent"] == 2
        ended.result()
    assert len(mail.mails) == 2


def test_a_slow_server_of_many_addresses_gets_each_mail_once(
    mail: SmtpCatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address has its share of the time to connect, 0.1 s here; once it has, the server has all that is left."""
    monkeypatch.setattr(email, "SEND_SECONDS", 30.0)
    addresses = socket.getaddrinfo("127.0.0.1", mail.port, type=socket.SOCK_STREAM) * 300
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: addresses)
    mail.delay = 0.15
    open_incident()
    assert deliver()["sent"] == 2
    deliver(1)
    assert sorted(one.recipients for one in mail.mails) == [("ana@example.pe",), ("luis@example.pe",)]


def test_a_tls_handshake_that_nobody_answers_ends_in_time(
    mail: SmtpCatcher, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(email, "SEND_SECONDS", 0.6)
    settings.EMAIL_USE_SSL = True
    mail.hold("220")
    open_incident()
    started = monotonic()
    assert deliver()["retried"] == 2
    assert monotonic() - started < SEND_SECONDS
    assert ends()["email"][1].startswith("no connection to the mail server")


def test_a_mail_server_behind_a_black_hole_ends_in_time(
    mail: SmtpCatcher, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(email, "SEND_SECONDS", 0.6)
    hole = BlackHole()
    settings.EMAIL_PORT = int(hole.address.rpartition(":")[2])
    open_incident()
    started = monotonic()
    assert deliver()["retried"] == 2
    assert monotonic() - started < SEND_SECONDS
    hole.close()


def test_what_is_begun_at_the_last_moment_is_marked_before_its_task_is_ended() -> None:
    """Whatever the time limit cuts off is sent again, and the monitor may have checked for 8 s before it delivers."""
    for task in (tasks.deliver_alerts, tasks.monitor_cache_health):
        assert 8 + dispatch.BEGUN_WITHIN + SEND_SECONDS <= (task.soft_time_limit or 0) < (task.time_limit or 0)
    assert outbox.LEASE.total_seconds() > SEND_SECONDS


# -- Webhook ---------------------------------------------------------------------------------------------------------


def test_the_webhook_gets_a_body_as_its_schema_says_with_a_signature_that_holds(webhook: HttpCatcher) -> None:
    open_incident()
    deliver()
    (request,) = webhook.received(HOOK)
    assert request.headers["content-type"] == "application/json"
    schema = json.loads((ROOT / "docs" / "webhook.schema.json").read_text())
    jsonschema.validate(request.json(), schema, jsonschema.Draft202012Validator)
    identity, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    content = f"{identity}.{timestamp}.".encode() + request.body
    digest = hmac.new(WEBHOOK_SECRET.encode(), content, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert abs(datetime.now(UTC).timestamp() - int(timestamp)) < 60
    assert request.json()["data"]["id"] == identity


def test_a_repeated_webhook_has_the_same_id(webhook: HttpCatcher) -> None:
    webhook.answer(HOOK, status=500, times=1)
    open_incident()
    deliver()
    deliver(5)
    first, second = webhook.received(HOOK)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_a_webhook_that_is_gone_is_off(webhook: HttpCatcher) -> None:
    webhook.answer(HOOK, status=410, body="gone")
    open_incident()
    deliver()
    assert ends() == {"webhook": ("failed", "the service answered 410: gone")}
    assert ChannelState.objects.get(name="webhook").disabled_at is not None


# -- Apprise ---------------------------------------------------------------------------------------------------------


def test_each_service_of_apprise_gets_the_message(apprise: HttpCatcher) -> None:
    open_incident()
    assert deliver()["sent"] == 2
    bodies = [request.json() for request in apprise.received("/apprise-")]
    assert {request.path for request in apprise.received()} == {
        "/apprise-one-secret-0001",
        "/apprise-two-secret-0001",
    }
    assert [body["title"] for body in bodies] == [OPENED] * 2
    assert "no responde: connection refused" in bodies[0]["message"]
    assert bodies[0]["type"] == "failure"


def test_one_service_that_fails_is_tried_again_and_the_other_gets_nothing_twice(apprise: HttpCatcher) -> None:
    apprise.answer("/apprise-two-secret-0001", status=500, times=1)
    open_incident()
    assert deliver() == {"sent": 1, "retried": 1, "failed": 0, "waiting": 1}
    assert ends()["apprise:2"][1].startswith("Apprise could not send: ")
    assert "500" in ends()["apprise:2"][1]
    assert deliver(1)["sent"] == 1
    assert len(apprise.received("/apprise-one")) == 1


def test_an_address_that_apprise_cannot_read_is_off(settings: Settings) -> None:
    settings.ALERT_APPRISE_URLS = ["nosuchservice://token-secret-0001"]
    open_incident()
    assert deliver()["failed"] == 1
    assert ends()["apprise"][1] == "Apprise knows no service of this address: see ALERT_APPRISE_URLS"


def test_hostile_text_pings_nobody_through_apprise(apprise: HttpCatcher) -> None:
    open_incident(value="<!channel> @everyone <@U123>")
    deliver()
    said = json.dumps(apprise.received("/apprise-one")[0].json(), ensure_ascii=False)
    assert "‹!channel›" in said
    assert "@everyone" not in said
    assert "<" not in said


def test_no_address_of_apprise_reaches_a_row_or_a_log(
    apprise: HttpCatcher, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    from api_service.services.redaction import RedactingFormatter

    apprise.answer(status=403)
    open_incident()
    deliver()
    formatter = RedactingFormatter("%(message)s")
    lines = "\n".join(formatter.format(record) for record in caplog.records)
    rows = str(list(Delivery.objects.values()) + list(ChannelState.objects.values()))
    assert "apprise" in rows
    assert "secret-0001" not in rows + lines
    assert NODES[0] in rows
