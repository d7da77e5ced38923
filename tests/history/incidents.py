"""Incidents with each step of their lives, what was told of them, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from api_service.models import (
    ChannelState,
    Delivery,
    FindingState,
    HealthSample,
    Incident,
    MaintenanceWindow,
    NodeSample,
    Notice,
    Transition,
)
from tests.history import Size
from tests.history.health import finding

KINDS: tuple[tuple[str, str, object, object], ...] = (
    ("node_down", "unhealthy", "connection refused", ""),
    ("node_slow", "warning", 71.5, 50.0),
    ("hit_ratio_low", "warning", 0.14, 0.2),
    ("schedule_late", "warning", 640.0, 300.0),
    ("evictions_high", "warning", 140.0, 60.0),
    ("upstream_errors", "unhealthy", 0.6, 0.2),
)
# What is not of a node of the cache
PLACES = {"schedule_late": "track-keys", "upstream_errors": "migo"}
OPEN = 4
# The newest runs, which are younger than all that is open
SEEN = 2
CHANNELS = ("slack", "email")
LASTED = timedelta(minutes=25)


def fill(size: Size, now: datetime, nodes: tuple[str, ...]) -> None:
    incidents = Incident.objects.bulk_create(_incident(number, size, now, nodes) for number in range(size.incidents))
    steps = [step for incident in incidents for step in _steps(incident)]
    notices = Notice.objects.bulk_create(Notice(created_at=step.at, severity=step.incident.severity) for step in steps)
    for step, notice in zip(steps, notices, strict=True):
        step.notice = notice
    Transition.objects.bulk_create(steps, batch_size=5000)
    numbers = count()
    Delivery.objects.bulk_create(
        (_delivery(next(numbers), step, channel) for step in steps for channel in CHANNELS), batch_size=5000
    )
    _states(now, nodes, {(one.code, one.node) for one in incidents[:OPEN]})
    for sample in HealthSample.objects.order_by("-taken_at")[:SEEN]:
        _find_again(sample, incidents[:OPEN])


def _find_again(sample: HealthSample, incidents: list[Incident]) -> None:
    """What is still open is still found: the overview would call its cache healthy."""
    sample.findings = [finding(one.code, one.severity, one.node, one.value, one.limit, one.since) for one in incidents]
    sample.status = "unhealthy"
    sample.save()
    down = [one.node for one in incidents if one.code == "node_down"]
    NodeSample.objects.filter(sample=sample, node__in=down).delete()
    NodeSample.objects.bulk_create(
        NodeSample(sample=sample, node=node, reachable=False, error="connection refused") for node in down
    )


def _incident(number: int, size: Size, now: datetime, nodes: tuple[str, ...]) -> Incident:
    """The first ones are open; the oldest is the last."""
    code, severity, value, limit = KINDS[number % len(KINDS)]
    opened = now - timedelta(minutes=7) - timedelta(days=size.days) * number / size.incidents
    is_open = number < OPEN
    taken = number % 3 == 1
    return Incident(
        code=code,
        node=PLACES.get(code) or nodes[(number + number // len(KINDS)) % len(nodes)],
        severity=severity,
        current=severity if is_open else "healthy",
        value=value,
        limit=limit,
        since=opened - timedelta(minutes=5),
        opened_at=opened,
        resolved_at=None if is_open else opened + LASTED,
        acknowledged_at=opened + timedelta(minutes=4) if taken else None,
        acknowledged_by="mirona" if taken else "",
    )


def _steps(incident: Incident) -> Iterator[Transition]:
    yield _step(incident, "opened", incident.opened_at)
    if incident.acknowledged_at:
        yield _step(incident, "acknowledged", incident.acknowledged_at, by=incident.acknowledged_by)
    if incident.resolved_at:
        yield _step(incident, "resolved", incident.resolved_at)


def _step(incident: Incident, event: str, at: datetime, by: str = "") -> Transition:
    over = event == "resolved"
    facts = {
        "event": event,
        "code": incident.code,
        "node": incident.node,
        "severity": "healthy" if over else incident.severity,
        "previous": incident.severity if over else "healthy",
        "value": incident.value,
        "limit": incident.limit,
        "at": at.isoformat(),
        "since": incident.since.isoformat(),
        "opened_at": incident.opened_at.isoformat(),
        "resolved_at": at.isoformat() if over else None,
        "duration_seconds": (at - incident.since).total_seconds() if over else None,
        "by": by,
        "note": "",
        "muted_until": None,
        "flaps": 0,
        "maintenance": "",
        "backend": "memcached",
        "nodes_reachable": 2,
        "nodes_total": 3,
        "sample": None,
    }
    return Transition(incident=incident, event=event, at=at, by=by, facts=facts, telling="told")


def _delivery(number: int, step: Transition, channel: str) -> Delivery:
    assert step.notice is not None
    failed = number % 97 == 3
    told: dict[str, Any] = {**step.facts, "transition": step.pk, "incident": step.incident_id, "began_in": ""}
    return Delivery(
        notice=step.notice,
        channel=channel,
        facts={"kind": "incidents", "at": step.at.isoformat(), "steps": [told]},
        state="failed" if failed else "sent",
        attempts=9 if failed else 1,
        created_at=step.at,
        due_at=step.at,
        sent_at=None if failed else step.at + timedelta(seconds=2),
        error="no answer in time (ConnectTimeout)" if failed else "",
    )


def _states(now: datetime, nodes: tuple[str, ...], is_open: set[tuple[str, str]]) -> None:
    """What counts has its incident: a health run would open one for each that had none."""
    FindingState.objects.bulk_create(
        FindingState(
            code=code,
            node=node,
            recent="11111" if (code, node) in is_open else "01101",
            counts=(code, node) in is_open,
            since=now - timedelta(minutes=12) if (code, node) in is_open else None,
            severity=severity,
            value=value,
            limit=limit,
            seen_at=now - timedelta(minutes=3),
        )
        for code, severity, value, limit in KINDS
        for node in ((PLACES[code],) if code in PLACES else nodes)
    )
    for name, error in (("slack", ""), ("email", ""), ("webhook", "the service answered 404: no_service")):
        ChannelState.objects.create(
            name=name,
            configured=True,
            succeeded_at=now - timedelta(hours=1),
            disabled_at=now - timedelta(minutes=40) if error else None,
            reason=error,
            failed_at=now - timedelta(minutes=40) if error else None,
            error=error,
        )
    MaintenanceWindow.objects.create(
        name="Parches del domingo", repeats="weekly", starts_at=now - timedelta(days=6), minutes=60, node=nodes[1]
    )
