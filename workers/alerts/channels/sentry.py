"""Sentry, as an event of its own in one issue per cache, confirmed: sent means that Sentry has accepted it.

The SDK's own transport queues, and drops silently when Sentry is away; here the outbox must learn of it.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from sentry_sdk import Client
from sentry_sdk.consts import VERSION
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from api_service.services.redaction import scrub
from workers.alerts.channels import ChannelError
from workers.alerts.messages import Message
from workers.alerts.post import post

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

LEVELS = {"healthy": "info", "warning": "warning", "unhealthy": "error"}
MAX_TAG = 200


class SentryChannel:
    name = "sentry"
    setting = "SENTRY_DSN"

    @staticmethod
    def configured() -> bool:
        return bool(settings.SENTRY_DSN)

    def send(self, message: Message) -> None:
        client = _client(settings.SENTRY_DSN, settings.SENTRY_ENVIRONMENT)
        if client.capture_event(event_of(message)) is None:
            raise ChannelError("the Sentry SDK dropped the event before sending it", permanent=True)


class ConfirmingTransport(Transport):
    """Posts each envelope at once, in the caller's thread; raises ChannelError unless Sentry accepted it."""

    def capture_envelope(self, envelope: Envelope) -> None:
        if self.parsed_dsn is None:
            raise ChannelError("SENTRY_DSN is empty", permanent=True)
        auth = self.parsed_dsn.to_auth(f"sentry.python/{VERSION}")
        headers = {
            "Content-Type": "application/x-sentry-envelope",
            "Content-Encoding": "gzip",
            "X-Sentry-Auth": auth.to_header(),
        }
        post(auth.get_api_url(), headers=headers, data=gzip.compress(envelope.serialize()))


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


def event_of(message: Message) -> Event:
    """The same id for the same message: Sentry drops what it has already."""
    return {
        "event_id": message.id,
        "timestamp": message.at,
        "level": LEVELS[message.severity],  # type: ignore[typeddict-item]
        "logger": "workers.alerts",
        "message": f"{message.title}. {message.summary}",
        "fingerprint": _fingerprint(message),
        "tags": _tags(message),
        "extra": _extra(message),
    }


def _fingerprint(message: Message) -> list[str]:
    return ["cache-health-test"] if message.event == "test" else ["cache-health", message.backend]


def _tags(message: Message) -> dict[str, str]:
    codes = sorted({problem.code for problem in message.problems})
    nodes = {problem.node for problem in message.problems if problem.node}
    tags = {"backend": message.backend, "severity": message.severity, "event": message.event, "codes": ",".join(codes)}
    if len(nodes) == 1:
        tags["node"] = nodes.pop()
    return {name: value[:MAX_TAG] for name, value in tags.items() if value}


def _extra(message: Message) -> dict[str, Any]:
    problems = [
        {"what": one.what, "meaning": one.meaning, "next_step": one.next_step, "runbook": one.runbook}
        for one in message.problems
    ]
    return {"details": dict(message.details), "problems": problems, "incident": message.link}
