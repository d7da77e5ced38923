"""Messages and facts for the tests of layout and text; nothing is stored."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from api_service.models import Delivery
from workers.alerts import messages
from workers.alerts.facts import StepFacts
from workers.alerts.messages import Message

# 10:30 in Lima
OPENED = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)
# Text as an attacker or a broken node may give it
HOSTILE = "<!channel> <@U123> @everyone *x* `y`\r\nBcc: all@example.com\x00\x1b[31m\u202eevil\u200b & " + "N" * 500


def step(code: str = "node_down", node: str = "10.0.0.7:11211", event: str = "opened", **values: Any) -> StepFacts:
    made: StepFacts = {
        "event": event,
        "code": code,
        "node": node,
        "severity": "unhealthy",
        "previous": "healthy",
        "value": "refused",
        "limit": "",
        "at": OPENED.isoformat(),
        "since": OPENED.isoformat(),
        "opened_at": OPENED.isoformat(),
        "resolved_at": None,
        "duration_seconds": None,
        "by": "",
        "note": "",
        "muted_until": None,
        "flaps": 0,
        "maintenance": "",
        "backend": "memcached",
        "nodes_reachable": 2,
        "nodes_total": 3,
        "sample": 1,
        "transition": 9,
        "incident": 3,
        "began_in": "",
    }
    made.update(values)  # type: ignore[typeddict-item]
    return made


def over(code: str = "node_down", node: str = "10.0.0.7:11211", seconds: float = 1320.0, **values: Any) -> StepFacts:
    ended = {"severity": "healthy", "previous": "unhealthy", "duration_seconds": seconds, **values}
    return step(code, node, "resolved", **ended)


def message(*steps: StepFacts, channel: str = "slack", at: datetime = OPENED, **values: Any) -> Message:
    """About these steps; without any about one, made of the values."""
    facts = {"kind": "incidents", "at": at.isoformat(), "steps": list(steps) or [step(**values)]}
    return messages.of_delivery(Delivery(pk=5, channel=channel, facts=facts, created_at=OPENED, due_at=OPENED))


def channel_off(channel: str = "slack", reason: str = "the service answered 404: no_service") -> Message:
    facts = {"kind": "channel_off", "at": OPENED.isoformat(), "channel": channel, "reason": reason}
    return messages.of_delivery(Delivery(pk=6, channel="email", facts=facts, created_at=OPENED, due_at=OPENED))


@cache
def hostile(count: int = 100) -> Message:
    """A hundred nodes of each of many codes, with hostile text in each field that comes from elsewhere."""
    from workers.alerts.explanations import TABLE

    texts = {"value": HOSTILE, "limit": HOSTILE, "by": HOSTILE, "note": HOSTILE, "began_in": HOSTILE}
    everywhere = [step(code, f"{number} {HOSTILE}", **texts) for code in [*TABLE][:5] for number in range(count)]
    return message(*everywhere, *(step(f"made_up_{number}", HOSTILE, **texts) for number in range(60)))
