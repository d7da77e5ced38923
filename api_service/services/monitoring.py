"""A health run: check every node, compare with the previous run, store what was seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic

from django.db import transaction

from api_service.models import HealthSample, NodeSample
from api_service.services import (
    around,
    finding_states,
    health,
    node_rules,
    node_samples,
    own_hits,
    refill_watch,
)
from api_service.services.around import Around
from api_service.services.backends.base import server_of
from api_service.services.cache_service import APICacheService
from api_service.services.health_rules import verdict
from api_service.services.node_facts import Since


def run_health_check() -> HealthSample:
    """Check the cache now and store the sample with one row per node."""
    started = monotonic()
    # Of the runs that were judged: what a run found that was killed, or only stored by hand, is still to be told
    now = datetime.now(UTC)
    # And of those by this clock: there are no rates since a run that was made when it was ahead
    judged = HealthSample.objects.filter(judged_at__isnull=False, taken_at__lt=now)
    readings = around.begin(now)
    previous = judged.order_by("-taken_at").prefetch_related("nodes").first()
    # The nodes are asked while what is around them is read
    checking = health.Checking(APICacheService())
    checking.probed()
    # After that: of an inventory that has begun before a node was probed, the node's count has a part
    since = since_of(previous, checking.at, datetime.now(UTC))
    report, seen = checking.report(since), readings.collect()
    return store(replace(report, duration_ms=round((monotonic() - started) * 1000, 1)), seen)


def store(report: health.Report, seen: Around) -> HealthSample:
    """The sample has what was read around the nodes, too: one without it would end those incidents."""
    report = report.with_findings(seen.findings, seen.unknown)
    known = node_samples.last_reachable([node.node for node in report.nodes])
    with transaction.atomic():
        report = with_earlier_runs(report)
        sample = HealthSample.objects.create(
            taken_at=report.at,
            status=report.status.value,
            backend=report.backend,
            duration_ms=report.duration_ms,
            checks=report.checks,
            findings=[finding.as_json() for finding in report.findings],
            unknown=report.unknown_as_json(),
            around=seen.facts,
        )
        rows = NodeSample.objects.bulk_create(
            node_samples.row_of(sample, node, known.get(node.node)) for node in report.nodes
        )
        # One transaction: a boot that was seen is a refill that is owed, whatever dies next
        refill_watch.note(sample, rows, known)
    refill_watch.send_due()
    return sample


def with_earlier_runs(report: health.Report) -> health.Report:
    """One failed probe does not count yet, one good one does not end it: the verdict is of what counts."""
    found = finding_states.observe(report.findings, report.unknown, report.at)
    return replace(report, findings=found, status=verdict(found))


def since_of(sample: HealthSample | None, at: datetime, until: datetime) -> dict[str, Since]:
    """What the previous run saw of each node, for one of `at` that has probed them or will have by `until`.

    One that was down then cannot be said to have restarted since.

    Where nobody was told that it was down, as one run is too few, it is compared with when it last answered: a restart
    that a run met in the middle would be told by neither.
    """
    if sample is None:
        return {}
    told = {one["node"] for one in sample.findings if one["code"] == node_rules.NODE_DOWN and one.get("counts", True)}
    rows = {row.node: (row, sample.taken_at) for row in sample.nodes.all()}
    untold = [node for node, (row, _at) in rows.items() if not row.reachable and node not in told]
    rows |= {row.node: (row, row.sample.taken_at) for row in node_samples.rows_last_reachable(untold)}
    own = own_hits.within(min(taken_at for _row, taken_at in rows.values()), until) if rows else {}
    return {
        node: Since(node_samples.facts_of(row), (at - taken_at).total_seconds(), tuple(own.get(server_of(node), ())))
        for node, (row, taken_at) in rows.items()
    }
