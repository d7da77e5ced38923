"""Sentry, one issue a code, confirmed: sent means that Sentry has accepted it.

The SDK's own transport queues, and drops silently when Sentry is away; here the outbox must learn of it.
"""

from __future__ import annotations

import gzip
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from sentry_sdk import Client
from sentry_sdk.consts import VERSION
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from api_service.sentences import sentence
from api_service.services.backends import Deadline
from api_service.services.health_rules import RANK, Severity
from api_service.services.redaction import scrub
from workers.alerts.channels import SEND_SECONDS, ChannelError
from workers.alerts.messages import Message, message_id
from workers.alerts.plain import cut, plain
from workers.alerts.post import post
from workers.alerts.problems import Problem

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

LEVELS = {"healthy": "info", "warning": "warning", "unhealthy": "error"}
# Of Sentry: what is longer is cut there or, as a tag, dropped
MAX_TAG, MAX_MESSAGE = 200, 8192
# Issues of their own that one message may reach, and one more for the rest: each is a request, all within one send
MAX_EVENTS = 5
SEVERAL = "several"
# Of the send that the transport works for: the SDK hands it the envelope alone
_until: ContextVar[Deadline] = ContextVar("until")


class SentryChannel:
    setting = "SENTRY_DSN"

    def __init__(self, address: str) -> None:
        self._dsn = address

    @staticmethod
    def addresses() -> list[str]:
        return [settings.SENTRY_DSN] if settings.SENTRY_DSN else []

    def send(self, message: Message) -> None:
        """Only the events that no earlier attempt brought there: a slow Sentry gets the last one, too.

        A worker that is killed in between sends all of them again: Sentry drops the ids that it has.
        """
        missing = [event for event in events_of(message) if event["event_id"] not in message.arrived]
        token = _until.set(Deadline.after(SEND_SECONDS))
        try:
            _capture(_client(self._dsn, settings.SENTRY_ENVIRONMENT), missing)
        finally:
            _until.reset(token)


def _capture(client: Client, events: list[Event]) -> None:
    arrived: list[str] = []
    for event in events:
        try:
            _capture_one(client, event)
        except ChannelError as error:
            error.arrived = tuple(arrived)
            raise
        arrived.append(event["event_id"])


def _capture_one(client: Client, event: Event) -> None:
    if not _until.get().left():
        raise ChannelError(sentence("Sentry was too slow for the rest of the message's events"))
    if client.capture_event(event) is None:
        raise ChannelError(sentence("the Sentry SDK dropped the event before sending it"), permanent=True)


class ConfirmingTransport(Transport):
    """Posts each envelope at once, in the caller's thread; raises ChannelError unless Sentry accepted it."""

    def capture_envelope(self, envelope: Envelope) -> None:
        if self.parsed_dsn is None:
            raise ChannelError(sentence("SENTRY_DSN is empty"), permanent=True)
        auth = self.parsed_dsn.to_auth(f"sentry.python/{VERSION}")
        headers = {
            "Content-Type": "application/x-sentry-envelope",
            "Content-Encoding": "gzip",
            "X-Sentry-Auth": auth.to_header(),
        }
        body = gzip.compress(envelope.serialize())
        post(auth.get_api_url(), headers=headers, data=body, seconds=_until.get().left())


@lru_cache(maxsize=4)
def _client(dsn: str, environment: str) -> Client:
    """Beside the SDK that `myproject.sentry` started: no integration, no scope, no thread, nothing sent twice."""
    return Client(
        dsn,
        environment=environment,
        transport=ConfirmingTransport,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        send_client_reports=False,
        before_send=_redacted,
    )


def _redacted(event: Event, _hint: Hint) -> Event:
    return scrub(event)


def events_of(message: Message) -> list[Event]:
    """One a code, the first codes of the message; the rest of them, if there are more, in one."""
    if not message.problems:
        return [_event(message, message.event, ())]
    codes: dict[str, list[Problem]] = {}
    for problem in message.problems:
        place = problem.code if problem.code in codes or len(codes) < MAX_EVENTS else SEVERAL
        codes.setdefault(place, []).append(problem)
    return [_event(message, code, tuple(problems)) for code, problems in codes.items()]


def _event(message: Message, code: str, problems: tuple[Problem, ...]) -> Event:
    """The same id for the same message: Sentry drops what it has already."""
    severities = [problem.severity for problem in problems] or [message.severity]
    severity = max(severities, key=lambda one: RANK[Severity(one)])
    return {
        "event_id": message_id(message.id, code),
        "timestamp": message.at,
        "level": LEVELS[severity],  # type: ignore[typeddict-item]
        "logger": "workers.alerts",
        "message": cut(_text(message, problems), MAX_MESSAGE),
        # What is over belongs to the issue that it opened
        "fingerprint": ["cache-alert", code],
        "tags": _tags(message, code, severity, problems),
        "extra": _extra(message, problems),
    }


def _text(message: Message, problems: tuple[Problem, ...]) -> str:
    """Its first line is the issue's title."""
    if not problems:
        return f"{message.title}. {message.summary}"
    return "\n".join(line for problem in problems for line in (problem.title, *problem.lines(), problem.link))


def _tags(message: Message, code: str, severity: str, problems: tuple[Problem, ...]) -> dict[str, str]:
    nodes = {step["node"] for problem in problems for step in problem.steps if step["node"]}
    events = {problem.event for problem in problems} or {message.event}
    tags = {
        "backend": message.backend,
        "severity": severity,
        "event": events.pop() if len(events) == 1 else SEVERAL,
        "code": code,
        "node": nodes.pop() if len(nodes) == 1 else "",
    }
    return {name: plain(value, MAX_TAG) for name, value in tags.items() if value}


def _extra(message: Message, problems: tuple[Problem, ...]) -> dict[str, Any]:
    """The SDK keeps ten of a list."""
    explained = [
        {
            "what": "\n".join((problem.title, *problem.what)),
            "meaning": problem.meaning,
            "cause": problem.cause,
            "next_step": problem.next_step,
            "runbook": problem.runbook,
            "incident": problem.link,
        }
        for problem in problems
    ]
    return {"details": dict(message.details), "problems": explained, "incidents": message.link}
