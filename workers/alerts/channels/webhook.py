"""Any HTTP address, signed as Standard Webhooks (standardwebhooks.com) says; the body is as docs/webhook.schema.json.

`webhook-id` is the same however often a message is sent: a receiver that remembers it gets nothing twice.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, TypedDict

from django.conf import settings

from workers.alerts.facts import StepFacts
from workers.alerts.messages import Message
from workers.alerts.post import post
from workers.alerts.problems import Problem

TYPE: Final = "cache.alert"
PREFIX: Final = "whsec_"
# Of a message: a body stays far below what receivers refuse
MAX_INCIDENTS: Final = 100


class IncidentJson(TypedDict):
    id: int
    node: str
    severity: str
    previous: str
    value: float | str
    limit: float | str
    since: str
    resolved_at: str | None
    duration_seconds: float | None
    by: str
    note: str


class ProblemJson(TypedDict):
    """Incidents of one code that the same happened to: `count` of them, in `incidents` those that there is room for."""

    code: str
    event: str
    severity: str
    unjudged: bool
    count: int
    title: str
    what: list[str]
    meaning: str
    cause: str
    next_step: str
    runbook: str
    link: str
    incidents: list[IncidentJson]


class Data(TypedDict):
    id: str
    event: str
    severity: str
    backend: str
    title: str
    summary: str
    link: str
    problems: list[ProblemJson]


class Body(TypedDict):
    type: str
    timestamp: str
    data: Data


class WebhookChannel:
    setting = "ALERT_WEBHOOK_URL"

    def __init__(self, address: str) -> None:
        self._url = address

    @staticmethod
    def addresses() -> list[str]:
        return [settings.ALERT_WEBHOOK_URL] if settings.ALERT_WEBHOOK_URL else []

    def send(self, message: Message) -> None:
        body = json.dumps(body_of(message), ensure_ascii=False).encode()
        # The time of this attempt: receivers refuse what is older than some minutes
        headers = signed(message.id, datetime.now(UTC), body, settings.ALERT_WEBHOOK_SECRET)
        post(self._url, headers={**headers, "Content-Type": "application/json", "Accept": "*/*"}, data=body)


def signed(message_id: str, now: datetime, body: bytes, secret: str) -> dict[str, str]:
    """HMAC-SHA256 over `id.timestamp.body`; more than one signature would be parted by spaces."""
    timestamp = str(int(now.timestamp()))
    content = b".".join([message_id.encode(), timestamp.encode(), body])
    digest = hmac.new(key_of(secret), content, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def key_of(secret: str) -> bytes:
    """`whsec_` is followed by base64, as the standard's tools make it; anything else is the key itself."""
    return base64.b64decode(secret.removeprefix(PREFIX)) if secret.startswith(PREFIX) else secret.encode()


def body_of(message: Message) -> Body:
    return {
        "type": TYPE,
        "timestamp": message.at.isoformat(),
        "data": {
            "id": message.id,
            "event": message.event,
            "severity": message.severity,
            "backend": message.backend,
            "title": message.title,
            "summary": message.summary,
            "link": message.link,
            "problems": list(_problems(message.problems)),
        },
    }


def _problems(problems: Iterable[Problem]) -> Iterator[ProblemJson]:
    room = MAX_INCIDENTS
    for problem in problems:
        yield _problem(problem, room)
        room = max(0, room - len(problem.steps))


def _problem(problem: Problem, room: int) -> ProblemJson:
    return {
        "code": problem.code,
        "event": problem.event,
        "severity": problem.severity,
        "unjudged": problem.is_unjudged,
        "count": len(problem.steps),
        "title": problem.title,
        "what": list(problem.what),
        "meaning": problem.meaning,
        "cause": problem.cause,
        "next_step": problem.next_step,
        "runbook": problem.runbook,
        "link": problem.link,
        "incidents": [_incident(step) for step in problem.steps[:room]],
    }


def _incident(step: StepFacts) -> IncidentJson:
    return {
        "id": step["incident"],
        "node": step["node"],
        "severity": step["severity"],
        "previous": step["previous"],
        "value": step["value"],
        "limit": step["limit"],
        "since": step["since"],
        "resolved_at": step["resolved_at"],
        "duration_seconds": step["duration_seconds"],
        "by": step["by"],
        "note": step["note"],
    }
