"""Writes the steps of incidents: a `Transition` each, with what a message will say of it fixed now."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from api_service.models import HealthSample, Incident, Transition
from api_service.services import maintenance
from api_service.services.health_rules import Severity
from api_service.services.incident_facts import Event, TransitionFacts
from api_service.services.maintenance_rules import Window, covering
from api_service.services.redaction import scrub
from api_service.services.telling_rules import Reason

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Moment:
    """When steps are taken, and what was so then of everything: read once for all of them."""

    at: datetime
    windows: Sequence[Window]
    backend: str = ""
    nodes_reachable: int = 0
    nodes_total: int = 0
    sample: int | None = None

    def window_over(self, incident: Incident) -> str:
        return covering(self.windows, incident.node, self.at, timezone.get_default_timezone())


def moment_of(sample: HealthSample | None, at: datetime) -> Moment:
    if sample is None:
        return Moment(at, maintenance.windows())
    nodes = list(sample.nodes.values_list("reachable", flat=True))
    return Moment(at, maintenance.windows(), sample.backend, sum(nodes), len(nodes), sample.pk)


def latest_moment(at: datetime) -> Moment:
    return moment_of(HealthSample.objects.order_by("-pk").first(), at)


@dataclass(frozen=True)
class Step:
    """`severity` is what it leads to; `is_damped`: on record only, nobody is told; `is_unjudged`: over as it could not
    be judged any more.
    """

    event: Event
    severity: Severity
    previous: Severity
    by: str = ""
    note: str = ""
    flaps: int = 0
    is_damped: bool = False
    is_unjudged: bool = False


def transition(incident: Incident, step: Step, moment: Moment) -> Transition:
    """Of the incident as the step leaves it; not saved yet."""
    window = moment.window_over(incident)
    # Logged with the row, not after its commit: a log line too many is better than one too few
    logger.warning(
        "Incident %d, %s: %s, %s, was %s", incident.pk, incident, *map(str, (step.event, step.severity, step.previous))
    )
    return Transition(
        incident=incident,
        event=step.event.value,
        at=moment.at,
        by=step.by,
        note=scrub(step.note),
        facts=scrub(_facts(incident, step, moment, window)),
        telling=Transition.Telling.QUIET if step.is_damped else Transition.Telling.PENDING,
        held_by=_held_by(incident, step, moment, window),
    )


def _held_by(incident: Incident, step: Step, moment: Moment, window: str) -> str:
    if step.is_damped:
        return Reason.FLAPPING
    if window:
        return Reason.MAINTENANCE
    return Reason.MUTED if is_muted(incident, moment.at) and step.event is not Event.MUTED else ""


def is_muted(incident: Incident, now: datetime) -> bool:
    return incident.muted_until is not None and incident.muted_until > now


def _facts(incident: Incident, step: Step, moment: Moment, window: str) -> TransitionFacts:
    resolved = incident.resolved_at
    return {
        "event": step.event.value,
        "code": incident.code,
        "node": incident.node,
        "severity": step.severity.value,
        "previous": step.previous.value,
        "value": incident.value,
        "limit": incident.limit,
        "at": moment.at.isoformat(),
        "since": incident.since.isoformat(),
        "opened_at": incident.opened_at.isoformat(),
        "resolved_at": resolved.isoformat() if resolved else None,
        "duration_seconds": (resolved - incident.since).total_seconds() if resolved else None,
        "by": step.by,
        "note": step.note,
        "muted_until": incident.muted_until.isoformat() if incident.muted_until else None,
        "flaps": step.flaps,
        "unjudged": step.is_unjudged,
        "maintenance": window,
        "backend": moment.backend,
        "nodes_reachable": moment.nodes_reachable,
        "nodes_total": moment.nodes_total,
        "sample": moment.sample,
    }
