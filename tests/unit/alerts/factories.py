"""Messages and facts for the tests of layout and text; nothing is stored."""

from datetime import UTC, datetime
from typing import Any

from api_service.models import Delivery
from workers.alerts import messages
from workers.alerts.facts import Facts, FindingFacts
from workers.alerts.messages import Message

# 10:30 in Lima
OPENED = datetime(2026, 1, 28, 15, 30, tzinfo=UTC)


def finding(code: str = "node_down", node: str = "10.0.0.7:11211", **values: Any) -> FindingFacts:
    made: FindingFacts = {"code": code, "severity": "unhealthy", "node": node, "value": "refused", "limit": ""}
    made.update(values)  # type: ignore[typeddict-item]
    return made


def facts(**values: Any) -> Facts:
    made: Facts = {
        "event": "opened",
        "severity": "unhealthy",
        "previous": "healthy",
        "backend": "memcached",
        "findings": [finding()],
        "nodes_reachable": 2,
        "nodes_total": 3,
        "sample": 1,
        "at": OPENED.isoformat(),
        "opened_at": OPENED.isoformat(),
        "resolved_at": None,
        "duration_seconds": None,
    }
    made.update(values)  # type: ignore[typeddict-item]
    return made


def message(channel: str = "slack", **values: Any) -> Message:
    delivery = Delivery(pk=5, incident_id=3, channel=channel, facts=facts(**values), created_at=OPENED, due_at=OPENED)
    return messages.of_delivery(delivery)
