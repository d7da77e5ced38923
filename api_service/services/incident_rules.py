"""What a run means for an incident, and what time alone does to it: pure rules, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api_service.services.health_rules import RANK, Severity
from api_service.services.incident_facts import Event


@dataclass(frozen=True, slots=True)
class Limits:
    """Zero `flap_changes` and null times switch the rule off."""

    flap_changes: int
    flap_window: timedelta
    flap_quiet: timedelta
    remind_unhealthy: timedelta | None
    remind_warning: timedelta | None
    escalate_after: timedelta | None


@dataclass(frozen=True, slots=True)
class Known:
    """An open incident as the last judged run left it; `current` is healthy only while it flaps."""

    worst: Severity
    current: Severity
    is_flapping: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One step; `is_damped`: it is one of too many, and only put on record."""

    event: Event
    severity: Severity
    is_damped: bool = False


def is_flapping(changes: Sequence[float], now: datetime, limits: Limits, *, was: bool) -> bool:
    """`changes`: Unix seconds at which the finding came or went, oldest first. Begins with too many of them, ends once
    there was none for a while, and does not begin again with those that it has settled from.
    """
    moved = bool(changes) and now.timestamp() - changes[-1] < limits.flap_quiet.total_seconds()
    return moved and (was or 0 < limits.flap_changes <= flaps(changes, now, limits))


def flaps(changes: Sequence[float], now: datetime, limits: Limits) -> int:
    """How often it came or went lately."""
    return sum(now.timestamp() - change < limits.flap_window.total_seconds() for change in changes)


def judge(known: Known | None, severity: Severity, *, flapping: bool) -> list[Change]:
    """The steps that a run makes which saw `severity`, healthy when it saw nothing that counts.

    What flaps stays one open incident however often it is over meanwhile.
    """
    if known is None:
        return list(_beginning(severity, flapping=flapping)) if severity is not Severity.HEALTHY else []
    if flapping:
        begins = [] if known.is_flapping else [Change(Event.FLAPPING, severity)]
        # Worse than it ever was is no more of the same
        is_damped = RANK[severity] <= RANK[known.worst]
        return [*_course(known.current, severity, is_damped=is_damped), *begins]
    settled = [Change(Event.SETTLED, severity)] if known.is_flapping else []
    if severity is Severity.HEALTHY:
        return [*settled, Change(Event.RESOLVED, severity)]
    return [*settled, *_course(known.current, severity)]


def _beginning(severity: Severity, *, flapping: bool) -> Iterator[Change]:
    yield Change(Event.OPENED, severity, is_damped=flapping)
    if flapping:
        yield Change(Event.FLAPPING, severity)


def _course(before: Severity, now: Severity, *, is_damped: bool = False) -> Iterator[Change]:
    if before is not now:
        yield Change(Event.WORSE if RANK[now] > RANK[before] else Event.BETTER, now, is_damped)


@dataclass(frozen=True, slots=True)
class Standing:
    """An open incident as people know it. `told_at`: when they heard of it last; `told_unhealthy_at`: first that
    it is unhealthy.

    `is_held`: a maintenance window covers it.
    """

    severity: Severity
    told_at: datetime | None
    told_unhealthy_at: datetime | None
    reminded_at: datetime | None = None
    is_acknowledged: bool = False
    is_escalated: bool = False
    is_held: bool = False
    muted_until: datetime | None = None


def due(standing: Standing, now: datetime, limits: Limits) -> list[Event]:
    """What time alone does. Who has acknowledged it needs no reminder; what nobody heard of cannot be reminded of."""
    events = []
    muted = standing.muted_until
    if muted is not None and muted <= now:
        events.append(Event.UNMUTED)
    if (muted is not None and muted > now) or standing.is_held or standing.is_acknowledged:
        return events
    if _is_escalated_now(standing, now, limits):
        return [*events, Event.ESCALATED]
    return [*events, Event.REMINDED] if _is_reminded_now(standing, now, limits) else events


def _is_escalated_now(standing: Standing, now: datetime, limits: Limits) -> bool:
    if limits.escalate_after is None or standing.is_escalated or standing.severity is not Severity.UNHEALTHY:
        return False
    # From when they heard of it: after a window they have their time like at any other
    return standing.told_unhealthy_at is not None and now - standing.told_unhealthy_at >= limits.escalate_after


def _is_reminded_now(standing: Standing, now: datetime, limits: Limits) -> bool:
    unhealthy = standing.severity is Severity.UNHEALTHY
    every = limits.remind_unhealthy if unhealthy else limits.remind_warning
    last = max(filter(None, (standing.told_at, standing.reminded_at)), default=None)
    return every is not None and last is not None and now - last >= every
