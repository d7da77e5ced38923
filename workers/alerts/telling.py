"""From untold transitions to the outbox: what is told, in one notice, and to whom.

One transaction: killed in it, nothing was told and the next run tells it; killed after it, the outbox has it. Two
workers take turns at the transitions, so that none is told twice.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import get_default_timezone

from api_service.models import Delivery, Incident, Notice, Transition
from api_service.services import maintenance, maintenance_rules, telling_rules
from api_service.services.health_rules import RANK, Severity
from api_service.services.incident_facts import Event, TransitionFacts
from api_service.services.maintenance_rules import Window
from api_service.services.telling_rules import IncidentState, Step, Telling
from workers.alerts import channel_states
from workers.alerts.channels import TABLE, configured
from workers.alerts.facts import IncidentsFacts, StepFacts
from workers.alerts.routes import Routing, routing

logger = logging.getLogger(__name__)


@dataclass
class _Judged:
    """What telling_rules said of all incidents; `quiet` and `held` by reason."""

    told: list[tuple[Transition, Telling]] = field(default_factory=list)
    quiet: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    held: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True, slots=True)
class _Told:
    """One step that is told now, and what its way depends on: `escalated` says that further channels heard of it."""

    facts: StepFacts
    worst: Severity
    escalated: bool


def tell(now: datetime) -> list[Delivery]:
    """Decides on every untold transition; returns the deliveries it wrote."""
    if not _untold().exists():
        return []
    with transaction.atomic():
        untold = list(_untold().select_for_update(of=("self",)).select_related("incident"))
        judged = _judge(untold, now)
        _put_aside(judged)
        return _notify(judged.told, now) if judged.told else []


def _untold() -> QuerySet[Transition]:
    return Transition.objects.filter(telling=Transition.Telling.PENDING).order_by("incident", "pk")


def _judge(untold: list[Transition], now: datetime) -> _Judged:
    windows, known, judged = maintenance.windows(), _known(untold), _Judged()
    for incident, group in groupby(untold, key=attrgetter("incident")):
        steps = {one.pk: one for one in group}
        state = _state(incident, known.get(incident.pk), windows, now)
        verdict = telling_rules.decide([_step(one) for one in steps.values()], state)
        judged.told += [(steps[telling.step], telling) for telling in verdict.tell]
        for reasons, by_reason in ((verdict.quiet, judged.quiet), (verdict.held, judged.held)):
            for pk, reason in reasons.items():
                by_reason[reason.value].append(pk)
    judged.told.sort(key=lambda one: one[0].pk)
    return judged


def _known(untold: Iterable[Transition]) -> Mapping[int, Severity]:
    """How bad people were told that each incident is; nothing of those they know nothing of."""
    incidents = {one.incident_id for one in untold}
    told = Transition.objects.filter(telling=Transition.Telling.TOLD, incident__in=incidents).order_by("pk")
    return {incident: Severity(said) for incident, said in told.values_list("incident", "facts__severity")}


def _state(incident: Incident, told: Severity | None, windows: Iterable[Window], now: datetime) -> IncidentState:
    return IncidentState(
        is_open=incident.resolved_at is None,
        current=Severity(incident.current),
        told=told,
        is_muted=incident.muted_until is not None and incident.muted_until > now,
        maintenance=maintenance_rules.covering(windows, incident.node, now, get_default_timezone()),
    )


def _step(row: Transition) -> Step:
    return Step(row.pk, Event(row.event), Severity(row.facts["severity"]), row.held_by, row.facts["maintenance"])


def _put_aside(judged: _Judged) -> None:
    for reason, pks in judged.quiet.items():
        Transition.objects.filter(pk__in=pks).update(telling=Transition.Telling.QUIET, held_by=reason)
    for reason, pks in judged.held.items():
        Transition.objects.filter(pk__in=pks).exclude(held_by=reason).update(held_by=reason)


def _notify(told: list[tuple[Transition, Telling]], now: datetime) -> list[Delivery]:
    escalated = _escalated(told)
    steps = [_told(row, telling, is_escalated=row.incident_id in escalated) for row, telling in told]
    worst = max((Severity(step.facts["severity"]) for step in steps), key=RANK.__getitem__)
    notice = Notice.objects.create(created_at=now, severity=worst.value)
    pks = [row.pk for row, _ in told]
    Transition.objects.filter(pk__in=pks).update(telling=Transition.Telling.TOLD, notice=notice, held_by="")
    deliveries = list(_deliveries(notice, steps, now))
    if not deliveries:
        logger.warning("Nobody is told of %d changes: no alert channel is configured for them", len(steps))
    return Delivery.objects.bulk_create(deliveries)


def _escalated(told: Iterable[tuple[Transition, Telling]]) -> set[int]:
    """Incidents of which an escalation was told, or is now. An incident forgets its own when it gets better."""
    before = Transition.objects.filter(telling=Transition.Telling.TOLD, event=Event.ESCALATED)
    known = before.filter(incident__in={row.incident_id for row, _ in told}).values_list("incident", flat=True)
    return {*known, *(row.incident_id for row, telling in told if telling.event is Event.ESCALATED)}


def _told(row: Transition, telling: Telling, *, is_escalated: bool) -> _Told:
    """`incident.severity` is the worst that it has been."""
    known: TransitionFacts = row.facts
    facts: StepFacts = {
        **known,
        "event": telling.event.value,
        "transition": row.pk,
        "incident": row.incident_id,
        "began_in": telling.began_in,
    }
    return _Told(facts, Severity(row.incident.severity), is_escalated)


def _deliveries(notice: Notice, steps: list[_Told], now: datetime) -> Iterable[Delivery]:
    """One an addressee that its routes give any of the steps. To one that is off it has failed already."""
    way, addressees = current_routing(), configured()
    off = channel_states.off(addressees)
    for addressee in addressees:
        taken = [step.facts for step in steps if _takes(way, addressee, step)]
        if not taken:
            continue
        facts: IncidentsFacts = {"kind": "incidents", "at": now.isoformat(), "steps": taken}
        row = Delivery(notice=notice, channel=addressee, facts=facts, created_at=now, due_at=now)
        if addressee in off:
            row.state, row.error = Delivery.State.FAILED, channel_states.why_off(off[addressee])[:300]
        yield row


def _takes(way: Routing, addressee: str, step: _Told) -> bool:
    facts = step.facts
    return way.takes(addressee, facts["code"], Event(facts["event"]), step.worst, escalated=step.escalated)


def current_routing() -> Routing:
    return routing(settings.ALERT_ROUTES, settings.ALERT_ESCALATE_TO, frozenset(TABLE))
