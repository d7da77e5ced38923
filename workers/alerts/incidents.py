"""Keeps the incident of the cache and writes the outbox: one row per channel, in the transaction of the change."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from api_service.models import Delivery, HealthSample, Incident
from api_service.services.health_rules import RANK, Severity
from api_service.services.redaction import scrub
from workers.alerts.channels import configured_channels
from workers.alerts.facts import Facts, FindingFacts
from workers.alerts.rules import Change, Event, OpenIncident, Trouble, decide

logger = logging.getLogger(__name__)

# One incident for the whole cache: twenty nodes that die with their rack are one message, not twenty
CODE = "cache_health"


def apply(sample: HealthSample, now: datetime) -> list[Delivery]:
    """Judges the sample; returns the deliveries it wrote. A sample judged before, or overtaken, changes nothing."""
    with transaction.atomic():
        return _judge(sample, now) if _claim(sample, now) else []


def _claim(sample: HealthSample, now: datetime) -> bool:
    """False when this sample or a newer one has been judged."""
    judged = HealthSample.objects.filter(judged_at__isnull=False)
    # Two monitors at once take turns at the newest judged row; who waited must look again
    judged.select_for_update().order_by("-taken_at", "-pk").first()
    newer = Q(taken_at__gt=sample.taken_at) | Q(taken_at=sample.taken_at, pk__gt=sample.pk)
    if judged.filter(newer).exists():
        return False
    return HealthSample.objects.filter(pk=sample.pk, judged_at__isnull=True).update(judged_at=now) == 1


def _judge(sample: HealthSample, now: datetime) -> list[Delivery]:
    incident, is_new = _open_incident(sample)
    if incident is None:
        return []
    change = decide(None if is_new else _state(incident), Severity(sample.status), _troubles(sample.findings))
    if change is None:
        return []
    change = _write(incident, change, sample)
    return _tell(incident, change, sample, now) if change.is_told else []


def _open_incident(sample: HealthSample) -> tuple[Incident | None, bool]:
    """The open incident, locked, and whether this sample opened it; None when there is none and nothing is wrong."""
    is_open = {"code": CODE, "node": "", "resolved_at": None}
    incident = Incident.objects.select_for_update().filter(**is_open).first()
    if incident is not None or sample.status == Severity.HEALTHY:
        return incident, False
    opening = {"severity": sample.status, "opened_at": sample.taken_at}
    # A monitor that came first wins the unique constraint; this sample is then judged against its incident
    incident, is_new = Incident.objects.get_or_create(**is_open, defaults=opening)
    return (incident, True) if is_new else (Incident.objects.select_for_update().get(pk=incident.pk), False)


def _state(incident: Incident) -> OpenIncident:
    current = [finding for finding in incident.findings if finding["current"]]
    return OpenIncident(Severity(incident.severity), _troubles(current))


def _troubles(findings: Iterable[FindingFacts]) -> frozenset[Trouble]:
    return frozenset(Trouble(one["code"], one["node"], Severity(one["severity"])) for one in findings)


def _write(incident: Incident, change: Change, sample: HealthSample) -> Change:
    """The incident as the sample leaves it; a closed one is remembered, and told of, by the worst it has been."""
    incident.findings = merged(incident.findings, scrub(sample.findings))
    incident.severity = change.severity
    if change.event is Event.RECOVERED:
        incident.resolved_at = sample.taken_at
        worst = max((change.previous, *_severities(incident.findings)), key=RANK.__getitem__)
        incident.severity = worst
        change = Change(change.event, change.severity, worst)
    incident.save(update_fields=["findings", "severity", "resolved_at"])
    logger.warning("Cache health incident %d %s: %s, was %s", incident.pk, *_words(change))
    return change


def _words(change: Change) -> tuple[str, str, str]:
    return change.event.value, change.severity.value, change.previous.value


def _severities(findings: Iterable[FindingFacts]) -> list[Severity]:
    return [Severity(finding["severity"]) for finding in findings]


def merged(known: Iterable[FindingFacts], found: Iterable[FindingFacts]) -> list[FindingFacts]:
    """What is wrong now, then what was wrong earlier in the incident."""
    now: list[FindingFacts] = [{**finding, "current": True} for finding in found]
    places = {(finding["code"], finding["node"]) for finding in now}
    past: list[FindingFacts] = [
        {**finding, "current": False} for finding in known if (finding["code"], finding["node"]) not in places
    ]
    return [*now, *past]


def _tell(incident: Incident, change: Change, sample: HealthSample, now: datetime) -> list[Delivery]:
    channels = list(configured_channels())
    if not channels:
        logger.info("Nobody is told of incident %d: no alert channel is configured", incident.pk)
    facts = facts_of(incident, change, sample)
    return Delivery.objects.bulk_create(
        Delivery(incident=incident, channel=name, event=change.event.value, facts=facts, created_at=now, due_at=now)
        for name in channels
    )


def facts_of(incident: Incident, change: Change, sample: HealthSample) -> Facts:
    nodes = list(sample.nodes.values_list("reachable", flat=True))
    resolved = incident.resolved_at
    return {
        "event": change.event.value,
        "severity": change.severity.value,
        "previous": change.previous.value,
        "backend": sample.backend,
        "findings": [finding for finding in incident.findings if resolved or finding["current"]],
        "nodes_reachable": sum(nodes),
        "nodes_total": len(nodes),
        "sample": sample.pk,
        "at": sample.taken_at.isoformat(),
        "opened_at": incident.opened_at.isoformat(),
        "resolved_at": resolved.isoformat() if resolved else None,
        "duration_seconds": (resolved - incident.opened_at).total_seconds() if resolved else None,
    }
