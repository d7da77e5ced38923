"""What a new verdict means for the open incident: pure rules, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from api_service.services.health_rules import RANK, Severity


class Event(StrEnum):
    OPENED = "opened"
    WORSE = "worse"
    RECOVERED = "recovered"
    # Not the same trouble any more, yet no worse: the incident follows, nobody is told
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A finding without its measured value, which moves with every run."""

    code: str
    node: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """What the last judged sample left behind."""

    severity: Severity
    troubles: frozenset[Trouble]


@dataclass(frozen=True, slots=True)
class Change:
    event: Event
    severity: Severity
    previous: Severity

    @property
    def is_told(self) -> bool:
        return self.event is not Event.CHANGED


def decide(incident: OpenIncident | None, status: Severity, troubles: Collection[Trouble]) -> Change | None:
    """The change that this verdict makes; None when it says what is known already."""
    if incident is None:
        return None if status is Severity.HEALTHY else Change(Event.OPENED, status, Severity.HEALTHY)
    if status is Severity.HEALTHY:
        return Change(Event.RECOVERED, status, incident.severity)
    if _is_worse(incident, status, troubles):
        return Change(Event.WORSE, status, incident.severity)
    if status is incident.severity and frozenset(troubles) == incident.troubles:
        return None
    return Change(Event.CHANGED, status, incident.severity)


def _is_worse(incident: OpenIncident, status: Severity, troubles: Collection[Trouble]) -> bool:
    """A higher severity, or one more thing broken beside what was: a second node that dies is news."""
    joined = set(troubles) - incident.troubles
    return RANK[status] > RANK[incident.severity] or any(trouble.severity is Severity.UNHEALTHY for trouble in joined)
