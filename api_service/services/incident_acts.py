"""What people do to an incident: acknowledge it, mute it, take that back. Doing it twice is one step."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from api_service.models import Incident, Transition
from api_service.services import incident_mutes
from api_service.services.health_rules import Severity
from api_service.services.incident_facts import Event
from api_service.services.incident_steps import Step, latest_moment
from api_service.services.incident_steps import transition as new_transition
from api_service.services.incidents import LOCK
from api_service.services.locks import take_turn

NOTE_LENGTH = Transition._meta.get_field("note").max_length or 300
BY_LENGTH = Transition._meta.get_field("by").max_length or 150


@transaction.atomic
def acknowledge(incident: int, by: str, note: str, now: datetime) -> Transition | None:
    """No reminders and no escalation from now on, unless it gets worse. None: over, or acknowledged already."""
    row = _open(incident)
    if row is None or row.acknowledged_at is not None:
        return None
    row.acknowledged_at, row.acknowledged_by = now, by[:BY_LENGTH]
    return _write(row, Step(Event.ACKNOWLEDGED, *_severity(row), by=by[:BY_LENGTH], note=note[:NOTE_LENGTH]), now)


@transaction.atomic
def mute(incident: int, by: str, until: datetime, note: str, now: datetime) -> Transition | None:
    """Nothing is told until then, also when it comes again as a new incident. None: over, or muted so already."""
    row = _open(incident)
    if row is None or until <= now or row.muted_until == until:
        return None
    row.muted_until, row.muted_by = until, by[:BY_LENGTH]
    return _write(row, Step(Event.MUTED, *_severity(row), by=by[:BY_LENGTH], note=note[:NOTE_LENGTH]), now)


@transaction.atomic
def unmute(incident: int, by: str, note: str, now: datetime) -> Transition | None:
    """What is still wrong is told now; the next one of what is over is told as any other. None: not muted, or a newer
    incident of the same has the mute now.
    """
    # Not beside a run that is opening the next one with it
    take_turn(LOCK)
    row = incident_mutes.can_be_taken_back(now).select_for_update().filter(pk=incident).first()
    if row is None:
        return None
    row.muted_until, row.muted_by = None, ""
    return _write(row, Step(Event.UNMUTED, *_severity(row), by=by[:BY_LENGTH], note=note[:NOTE_LENGTH]), now)


def _open(incident: int) -> Incident | None:
    return Incident.objects.select_for_update().filter(pk=incident, resolved_at=None).first()


def _severity(row: Incident) -> tuple[Severity, Severity]:
    severity = Severity(row.severity if row.flapping_since else row.current)
    return severity, severity


def _write(row: Incident, step: Step, now: datetime) -> Transition:
    row.save(update_fields=["acknowledged_at", "acknowledged_by", "muted_until", "muted_by"])
    written = new_transition(row, step, latest_moment(now))
    written.save()
    return written
