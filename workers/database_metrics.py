"""Gauges of what the workers' side of the database knows: findings, incidents, deliveries, schedules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Min
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from api_service import selectors
from api_service.models import Delivery, Incident, Status
from api_service.services import beat_watch
from api_service.services.metrics_database import gauge, moment, register
from workers.alerts.channels import TABLE as CHANNELS
from workers.alerts.explanations import TABLE as CODES

SEVERITIES: Final = (Status.WARNING.value, Status.UNHEALTHY.value)
FAILED_SINCE: Final = timedelta(days=1)

Key = tuple[str, str]  # code, severity


def alerts(_now: datetime) -> Iterator[Metric]:
    sample = selectors.latest_sample()
    counting = [found for found in (sample.findings if sample else []) if found.get("counts", True)]
    findings = Counter((str(found["code"]), str(found["severity"])) for found in counting)
    rows = Incident.objects.filter(resolved_at__isnull=True).values_list("code", "severity")
    text = "Findings of the last health run that count, over all nodes."
    yield _by_code(gauge("findings", text, "code", "severity"), findings)
    yield _by_code(
        gauge("incidents_open", "Incidents that are open, over all nodes.", "code", "severity"), Counter(rows)
    )


def _by_code(family: GaugeMetricFamily, numbers: Mapping[Key, int]) -> Metric:
    known: Iterable[Key] = ((code, severity) for code in CODES for severity in SEVERITIES)
    for key in sorted({*known, *numbers}):
        family.add_metric(key, numbers.get(key, 0))
    return family


def deliveries(now: datetime) -> Iterator[Metric]:
    """Of alerts. Those that were sent are not counted: there may be many, and nothing is wrong with them."""
    pending, failed = Delivery.State.PENDING, Delivery.State.FAILED
    waiting = Delivery.objects.filter(state=pending).values("channel").annotate(n=Count("pk"), oldest=Min("created_at"))
    given_up = Delivery.objects.filter(state=failed, created_at__gte=now - FAILED_SINCE)
    numbers = {(row["channel"], pending.value): row["n"] for row in waiting}
    numbers |= {(row["channel"], failed.value): row["n"] for row in given_up.values("channel").annotate(n=Count("pk"))}
    counts = gauge(
        "deliveries", "Alerts that wait for a channel, and that failed for good in a day.", "channel", "state"
    )
    known = {(channel, state.value) for channel in CHANNELS for state in (pending, failed)}
    for key in sorted({*known, *numbers}):
        counts.add_metric(key, numbers.get(key, 0))
    oldest = gauge("delivery_oldest_timestamp_seconds", "When the alert was made that waits longest.", "channel")
    for row in waiting:
        oldest.add_metric([row["channel"]], moment(row["oldest"]))
    yield from (counts, oldest)


def schedules(now: datetime) -> Iterator[Metric]:
    last = gauge(
        "schedule_last_run_timestamp_seconds", "When Beat last sent a schedule's task, 0 for never.", "schedule"
    )
    succeeded = gauge(
        "schedule_last_success_timestamp_seconds", "When a run of the schedule last succeeded, 0 for never.", "schedule"
    )
    due = gauge("schedule_due_timestamp_seconds", "When Beat has to send a schedule's task next.", "schedule")
    for one in beat_watch.look(now):
        last.add_metric([one.seen.name], moment(one.seen.sent_at))
        succeeded.add_metric([one.seen.name], moment(one.seen.succeeded_at))
        due.add_metric([one.seen.name], moment(one.seen.next_due))
    yield from (last, succeeded, due)


def register_all() -> None:
    register("alerts", alerts)
    register("deliveries", deliveries)
    register("schedules", schedules)
