"""Incidents: what is wrong, since when, who has it in hand; acknowledged, muted and unmuted from here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Path, Query, Router
from pydantic import ConfigDict, Field

from api_service.api.access import Token, grant_of
from api_service.api.operation_schemas import Incident as IncidentSchema
from api_service.api.operation_schemas import IncidentPage, IncidentWithCourse, Note
from api_service.api.paging import Paging, Rows, newest_first
from api_service.api.problems import Problem, Refused
from api_service.api.schemas import RowNumber
from api_service.models import Incident, Transition
from api_service.services import incident_acts
from api_service.services.incident_steps import is_muted
from api_service.services.token_rules import Scope

router = Router(tags=["Incidents"])

LOOKING = Token(Scope.OPERATIONS_READ, Scope.INCIDENTS_WRITE)
ACTING = Token(Scope.INCIDENTS_WRITE)
LONGEST_MUTE_HOURS = 24 * 30


class IncidentFilter(Paging):
    open: bool = Field(default=True, description="Only what is not over; false lists all, the newest first.")


class Mute(Note):
    model_config = ConfigDict(extra="forbid", strict=True)

    hours: float = Field(gt=0, le=LONGEST_MUTE_HOURS, allow_inf_nan=False)


@router.get("/incidents", response=IncidentPage, auth=LOOKING, summary="Incidents")
def listed(request: HttpRequest, wanted: Query[IncidentFilter]) -> Rows:  # noqa: ARG001 - ninja passes it
    """What is wrong now, or all that ever was."""
    rows = Incident.objects.filter(resolved_at=None) if wanted.open else Incident.objects.all()
    now = timezone.now()
    return newest_first(rows, wanted, lambda row: _as_json(row, now))


@router.get("/incidents/{number}", response={200: IncidentWithCourse, 404: None}, auth=LOOKING, summary="One incident")
def one(request: HttpRequest, number: Path[RowNumber]) -> dict[str, Any]:  # noqa: ARG001 - ninja passes it
    """With its course: what happened, when, by whom, and whether it was told."""
    row = _find(number)
    steps = row.transitions.order_by("pk")
    return {**_as_json(row, timezone.now()), "course": [_step(step) for step in steps]}


@router.post(
    "/incidents/{number}/acknowledge",
    response={200: IncidentSchema, 404: None, 409: None},
    auth=ACTING,
    summary="Acknowledge an incident",
)
def acknowledge(request: HttpRequest, number: Path[RowNumber], said: Note) -> dict[str, Any]:
    """No reminders and no escalation from now on, unless it gets worse. Doing it twice is doing it once."""
    by = grant_of(request).name
    return _done(number, lambda now: incident_acts.acknowledge(number, by, said.note, now))


@router.post(
    "/incidents/{number}/mute",
    response={200: IncidentSchema, 404: None, 409: None},
    auth=ACTING,
    summary="Mute an incident",
)
def mute(request: HttpRequest, number: Path[RowNumber], said: Mute) -> dict[str, Any]:
    """Nothing is told of it for `hours`, but its end."""
    by, length = grant_of(request).name, timedelta(hours=said.hours)
    return _done(number, lambda now: incident_acts.mute(number, by, now + length, said.note, now))


@router.post(
    "/incidents/{number}/unmute",
    response={200: IncidentSchema, 404: None, 409: None},
    auth=ACTING,
    summary="Unmute an incident",
)
def unmute(request: HttpRequest, number: Path[RowNumber], said: Note) -> dict[str, Any]:
    """What is still wrong is told now. Of an incident that is over: its mute does not follow to the next one."""
    by = grant_of(request).name
    return _done(number, lambda now: incident_acts.unmute(number, by, said.note, now))


def _done(number: int, act: Callable[[datetime], Transition | None]) -> dict[str, Any]:
    """What was done before is no failure: whoever asks twice wants the same."""
    now = timezone.now()
    step, row = act(now), _find(number)
    if step is None and row.resolved_at is not None:
        text = _("Incident %d is over.") % number
        raise Refused(Problem(409, "not_open", text, _("There is nothing to do about it.")))
    return _as_json(row, now)


def _find(number: int) -> Incident:
    row = Incident.objects.filter(pk=number).first()
    if row is None:
        text = _("There is no incident %d.") % number
        raise Refused(Problem(404, "not_found", text, _("Incidents are listed at /api/v1/incidents.")))
    return row


def _as_json(row: Incident, now: datetime) -> dict[str, Any]:
    names = ("code", "node", "severity", "current", "value", "limit", "since", "opened_at", "resolved_at")
    more = ("acknowledged_at", "acknowledged_by", "escalated_at", "flapping_since")
    muted = is_muted(row, now)
    return {
        "incident": row.pk,
        **{name: getattr(row, name) for name in (*names, *more)},
        "muted_until": row.muted_until if muted else None,
        "muted_by": row.muted_by if muted else "",
    }


def _step(step: Transition) -> dict[str, Any]:
    return {name: getattr(step, name) for name in ("event", "at", "by", "note", "telling", "held_by")}
