"""A health run: check every node, compare with the previous run, store what was seen."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction

from api_service.models import HealthSample, NodeSample
from api_service.services import finding_states, health, money_watch, refill_watch, stale_counts
from api_service.services.cache_service import APICacheService
from api_service.services.durations import rough
from api_service.services.health_rules import Finding, NodeFacts, Since, restarted, stale_served, verdict

# What the probe says and the table keeps, name by name
STORED_FACTS = (
    *("node", "reachable", "error", "latency_ms", "version", "pid", "items", "bytes_used", "bytes_limit"),
    *("evictions", "hits", "misses", "connections", "max_connections"),
)


def run_health_check() -> HealthSample:
    """Check the cache now and store the sample with one row per node."""
    # Of the runs that were judged: what a run found that was killed, or only stored by hand, is still to be told
    judged = HealthSample.objects.filter(judged_at__isnull=False)
    previous = judged.order_by("-taken_at").prefetch_related("nodes").first()
    report = health.check(APICacheService(), since_of(previous, datetime.now(UTC)))
    return store(report)


def old_answers(now: datetime) -> list[Finding]:
    """Who was shown answers past their life because no newer ones could be had."""
    return [
        stale_served(each.service, f"{each.answers} × ≤ {rough(each.oldest)}: {', '.join(each.reasons)}")
        for each in stale_counts.troubles(now)
    ]


def store(report: health.Report) -> HealthSample:
    """The sample has what the database knows, too: one without it would end those incidents."""
    report = report.with_findings([*old_answers(report.at), *money_watch.findings(report.at)])
    known = last_reachable([node.node for node in report.nodes])
    with transaction.atomic():
        report = with_earlier_runs(report)
        sample = HealthSample.objects.create(
            taken_at=report.at,
            status=report.status.value,
            backend=report.backend,
            duration_ms=report.duration_ms,
            checks=report.checks,
            findings=[finding.as_json() for finding in report.findings],
        )
        rows = NodeSample.objects.bulk_create(_row(sample, node, known.get(node.node)) for node in report.nodes)
        # One transaction: a boot that was seen is a refill that is owed, whatever dies next
        refill_watch.note(sample, rows, known)
    refill_watch.send_due()
    return sample


def with_earlier_runs(report: health.Report) -> health.Report:
    """One failed probe does not count yet, one good one does not end it: the verdict is of what counts."""
    found = finding_states.observe(report.findings, report.unknown, report.at)
    return replace(report, findings=found, status=verdict(found))


def since_of(sample: HealthSample | None, now: datetime) -> dict[str, Since]:
    """What the previous run saw of each node; one that was down then cannot be said to have restarted since."""
    if sample is None:
        return {}
    seconds = (now - sample.taken_at).total_seconds()
    return {row.node: Since(facts_of(row), seconds) for row in sample.nodes.all()}


def last_reachable(nodes: list[str]) -> dict[str, NodeFacts]:
    """The facts of each node when it last answered."""
    rows = (NodeSample.objects.filter(node=node, reachable=True).order_by("-id").first() for node in nodes)
    return {row.node: facts_of(row) for row in rows if row is not None}


def facts_of(row: NodeSample) -> NodeFacts:
    facts = NodeFacts(**{name: getattr(row, name) for name in STORED_FACTS})
    return replace(facts, booted_at=row.booted_at.timestamp() if row.booted_at else None)


def prune_samples(now: datetime) -> int:
    """Drop samples beyond their retention; the number of rows, nodes' included."""
    oldest = now - timedelta(days=settings.HEALTH_RETENTION_DAYS)
    return HealthSample.objects.filter(taken_at__lt=oldest).delete()[0]


def _row(sample: HealthSample, node: NodeFacts, known: NodeFacts | None) -> NodeSample:
    facts = {name: value for name, value in asdict(node).items() if name in STORED_FACTS}
    booted = datetime.fromtimestamp(node.booted_at, tz=UTC) if node.booted_at is not None else None
    return NodeSample(sample=sample, booted_at=booted, restarted=restarted(node, known), **facts)
