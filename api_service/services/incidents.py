"""Keeps the incidents: a judged sample opens, changes and ends them; time reminds of them and escalates them.

Each step is a `Transition` in the transaction that makes it. Two workers at once take turns, so each step is one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Coalesce

from api_service.models import FindingState, HealthSample, Incident, Status, Transition
from api_service.services import finding_policy, incident_mutes, incident_rules
from api_service.services.finding_states import Place, is_unknown
from api_service.services.health_rules import RANK, Severity
from api_service.services.incident_facts import Event
from api_service.services.incident_rules import Change, Known, Limits, Standing
from api_service.services.incident_steps import Moment, Step, latest_moment, moment_of
from api_service.services.incident_steps import transition as new_transition
from api_service.services.locks import take_turn
from api_service.services.redaction import scrub

LOCK = "incidents"
KEPT_BY_JUDGING = (
    *("severity", "current", "value", "limit", "resolved_at", "flapping_since"),
    *("acknowledged_at", "acknowledged_by"),
)


@dataclass
class _Case:
    """One code on one node: its open incident or a new one, and the finding that counts, if any."""

    incident: Incident
    is_new: bool
    finding: Mapping[str, Any] | None
    changes: Sequence[float]
    # The sample could judge it neither way
    is_unjudged: bool

    @property
    def severity(self) -> Severity:
        return Severity(self.finding["severity"]) if self.finding else Severity.HEALTHY


def apply(sample: HealthSample, now: datetime) -> list[Transition]:
    """Judges the sample; returns the steps it made. A sample judged before, or overtaken, changes nothing."""
    with transaction.atomic():
        take_turn(LOCK)
        return _judge(sample) if _claim(sample, now) else []


def tick(now: datetime) -> list[Transition]:
    """What time alone does: the end of a mute, an escalation, a reminder."""
    if not _open().exists():
        return []
    with transaction.atomic():
        take_turn(LOCK)
        standing = _standings(list(_open().select_for_update()), moment := latest_moment(now))
        due = [(one, event) for one, facts in standing for event in incident_rules.due(facts, now, limits())]
        return Transition.objects.bulk_create(_passed(one, event, moment) for one, event in due)


def limits() -> Limits:
    return Limits(
        flap_changes=settings.ALERT_FLAP_CHANGES,
        flap_window=timedelta(minutes=settings.ALERT_FLAP_WINDOW_MINUTES),
        flap_quiet=timedelta(minutes=settings.ALERT_FLAP_QUIET_MINUTES),
        remind_unhealthy=timedelta(hours=settings.ALERT_REMIND_HOURS) or None,
        remind_warning=timedelta(hours=settings.ALERT_REMIND_WARNING_HOURS) or None,
        escalate_after=timedelta(minutes=settings.ALERT_ESCALATE_MINUTES) or None,
    )


def _claim(sample: HealthSample, now: datetime) -> bool:
    """False when this sample or a newer one has been judged.

    One from the future is not newer: the clock was ahead when it was taken, and nobody waits until that time has come.
    """
    newer = Q(taken_at__gt=sample.taken_at) | Q(taken_at=sample.taken_at, pk__gt=sample.pk)
    so_far = HealthSample.objects.filter(taken_at__lte=now + finding_policy.CLOCKS_APART, judged_at__isnull=False)
    if so_far.filter(newer).exists():
        return False
    return HealthSample.objects.filter(pk=sample.pk, judged_at__isnull=True).update(judged_at=now) == 1


def _open() -> Any:
    return Incident.objects.filter(resolved_at=None).order_by("pk")


# -- a sample --------------------------------------------------------------------------------------------------------


def _judge(sample: HealthSample) -> list[Transition]:
    """New incidents get their rows first: the steps point at them."""
    moment = moment_of(sample, sample.taken_at)
    judged = [(case, _changes(case, moment.at)) for case in _cases(sample)]
    before = {id(case.incident): _kept(case.incident) for case, _changes in judged}
    Incident.objects.bulk_create(case.incident for case, _changes in judged if case.is_new)
    steps = ((case.incident, step) for case, changes in judged for step in _steps(case, changes, moment))
    # One by one: a step's facts are of the incident as this step leaves it
    written = [new_transition(incident, step, moment) for incident, step in steps]
    changed = [case.incident for case, _changes in judged if _kept(case.incident) != before[id(case.incident)]]
    Incident.objects.bulk_update(changed, KEPT_BY_JUDGING, batch_size=100)
    return Transition.objects.bulk_create(written)


def _kept(incident: Incident) -> list[object]:
    return [getattr(incident, name) for name in KEPT_BY_JUDGING]


def _cases(sample: HealthSample) -> Iterator[_Case]:
    found = {_place(one): one for one in scrub(sample.findings) if one.get("counts", True)}
    known = {(row.code, row.node): row for row in _open().select_for_update()}
    changes = {(row.code, row.node): row.changes for row in FindingState.objects.exclude(changes=[])}
    mutes = {(row.code, row.node): row for row in incident_mutes.still_on(sample.taken_at)}
    unknown = {(one["code"], one["node"]) for one in sample.unknown or ()}
    for place in dict.fromkeys([*known, *found]):
        incident = known.get(place) or _new(found[place], mutes.get(place), sample.taken_at)
        unjudged = is_unknown(place, unknown)
        yield _Case(incident, place not in known, found.get(place), changes.get(place, []), unjudged)


def _place(finding: Mapping[str, Any]) -> Place:
    return finding["code"], finding["node"]


def _new(finding: Mapping[str, Any], muted: Incident | None, at: datetime) -> Incident:
    since = finding.get("since")
    return Incident(
        code=finding["code"],
        node=finding["node"],
        severity=finding["severity"],
        current=finding["severity"],
        value=finding["value"],
        limit=finding["limit"],
        since=datetime.fromisoformat(since) if since else at,
        opened_at=at,
        muted_until=muted.muted_until if muted else None,
        muted_by=muted.muted_by if muted else "",
    )


def _changes(case: _Case, at: datetime) -> list[Change]:
    was = case.incident.flapping_since is not None
    flapping = incident_rules.is_flapping(case.changes, at, limits(), was=was)
    known = None if case.is_new else Known(Severity(case.incident.severity), Severity(case.incident.current), was)
    return incident_rules.judge(known, case.severity, flapping=flapping)


def _steps(case: _Case, changes: Sequence[Change], moment: Moment) -> Iterator[Step]:
    """The incident is brought forward change by change: each step's facts are those that it left."""
    incident = case.incident
    comes_and_goes = incident.flapping_since or any(change.event is Event.FLAPPING for change in changes)
    flaps = incident_rules.flaps(case.changes, moment.at, limits()) if comes_and_goes else 0
    if case.finding:
        incident.value, incident.limit = case.finding["value"], case.finding["limit"]
    for change in changes:
        previous = _previous(incident, change.event)
        _bring_forward(incident, change, moment.at)
        yield Step(
            change.event,
            # Worth as much as what comes and goes, also when it is just gone
            Severity(incident.severity) if change.event is Event.FLAPPING else change.severity,
            previous,
            flaps=flaps,
            is_damped=change.is_damped,
            # What came and went has been judged well: it only had to keep still
            is_unjudged=change.event is Event.RESOLVED and case.is_unjudged and not comes_and_goes,
        )


def _previous(incident: Incident, event: Event) -> Severity:
    if event is Event.OPENED:
        return Severity.HEALTHY
    return Severity(incident.severity if event is Event.RESOLVED else incident.current)


def _bring_forward(incident: Incident, change: Change, at: datetime) -> None:
    incident.current = Status(change.severity.value)
    if RANK[change.severity] > RANK[Severity(incident.severity)]:
        incident.severity = incident.current
        # Who acknowledged a warning has not said that an outage is in hand
        incident.acknowledged_at, incident.acknowledged_by = None, ""
    match change.event:
        case Event.RESOLVED:
            incident.resolved_at = at
        case Event.FLAPPING:
            incident.flapping_since = at
        case Event.SETTLED:
            incident.flapping_since = None


# -- time ------------------------------------------------------------------------------------------------------------


def _standings(incidents: Sequence[Incident], moment: Moment) -> list[tuple[Incident, Standing]]:
    told: dict[int, list[tuple[datetime, str]]] = {}
    rows = Transition.objects.filter(incident__in=incidents, telling=Transition.Telling.TOLD).order_by("pk")
    when = Coalesce("notice__created_at", "at")
    for incident, severity, at in rows.values_list("incident", "facts__severity", when):
        told.setdefault(incident, []).append((at, severity))
    return [(one, _standing(one, told.get(one.pk, []), moment)) for one in incidents]


def _standing(incident: Incident, told: Sequence[tuple[datetime, str]], moment: Moment) -> Standing:
    return Standing(
        severity=Severity(incident.severity if incident.flapping_since else incident.current),
        told_at=max((at for at, _severity in told), default=None),
        told_unhealthy_at=min((at for at, severity in told if severity == Severity.UNHEALTHY), default=None),
        reminded_at=incident.reminded_at,
        is_acknowledged=incident.acknowledged_at is not None,
        is_escalated=incident.escalated_at is not None,
        is_held=bool(moment.window_over(incident)),
        muted_until=incident.muted_until,
    )


def _passed(incident: Incident, event: Event, moment: Moment) -> Transition:
    match event:
        case Event.UNMUTED:
            incident.muted_until, incident.muted_by = None, ""
        case Event.ESCALATED:
            # It reminds as well
            incident.escalated_at = incident.reminded_at = moment.at
        case Event.REMINDED:
            incident.reminded_at = moment.at
    incident.save(update_fields=["muted_until", "muted_by", "escalated_at", "reminded_at"])
    severity = Severity(incident.severity if incident.flapping_since else incident.current)
    return new_transition(incident, Step(event, severity, severity), moment)
