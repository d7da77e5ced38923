"""The health run's part in refills: it sees the boots, asks for a refill of each, and measures what came of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.utils import timezone

from api_service.models import HealthSample, NodeSample, RefillRun
from api_service.sentences import sentence
from api_service.services import own_hits, refill, task_sending
from api_service.services.backends.base import server_of
from api_service.services.beside import beside
from api_service.services.health import CHECK_SECONDS
from api_service.services.node_facts import NodeFacts
from api_service.services.refill_plan import other_boot, ratio_between

logger = logging.getLogger(__name__)

TASK = "workers.tasks.refill_node"
SUPERSEDED = sentence("the node has booted again: that boot is refilled instead")
AFTER_AT_LEAST = timedelta(minutes=5)
CHECK_AT_MOST = timedelta(seconds=CHECK_SECONDS)
# Nobody asked for that long: there will be no ratio of "after the refill"
AFTER_AT_MOST = timedelta(hours=1)
# Of the 5 s of a health run. A task that the broker takes later does no harm: the second of two finds nothing to do
BROKER_SECONDS = 1.0

Reason = RefillRun.Reason
State = RefillRun.State


def note(sample: HealthSample, nodes: Sequence[NodeSample], known: Collection[str]) -> None:
    """Ask for a refill of each node that came back empty or is new. Call it in the sample's transaction.

    `known`: the nodes that have answered a health run before this one. The very first run knows none, and a cache
    that has always been here lost nothing.
    """
    if sample.backend == "local_memory":
        return
    for node in nodes:
        if node.restarted:
            _request(sample, node, Reason.RESTARTED)
        elif node.reachable and node.booted_at and node.node not in known and _others(sample, known):
            _request(sample, node, Reason.NEW)
    _measure_after(nodes, sample.taken_at)


def send_due() -> None:
    """Send what waits, and what a worker left running when it died. A broker that is down: the next run sends it."""
    refill.close_abandoned(timezone.now())
    for row in RefillRun.objects.filter(state=State.WAITING).order_by("pk"):
        kwargs = {"node": row.node, "run": row.pk}
        try:
            beside("send-refill", partial(task_sending.send, TASK, kwargs)).result(BROKER_SECONDS)
        except (task_sending.BrokerDown, TimeoutError) as error:
            logger.warning("the refill of %s waits for the next health run: %s", row.node, str(error) or "no answer")
            return


def _others(sample: HealthSample, known: Collection[str]) -> bool:
    return bool(known) or NodeSample.objects.filter(reachable=True, sample__lt=sample.pk).exists()


def _request(sample: HealthSample, node: NodeSample, reason: RefillRun.Reason) -> None:
    """One run a boot; one that still waits for an earlier boot of that node is not done any more."""
    waiting = [
        row for row in RefillRun.objects.filter(node=node.node, state=State.WAITING) if not _is_of(row, _facts(node))
    ]
    RefillRun.objects.filter(pk__in=[row.pk for row in waiting], state=State.WAITING).update(
        state=State.FAILED, finished_at=sample.taken_at, error=SUPERSEDED
    )
    requested = RefillRun(
        node=node.node,
        reason=reason,
        state=State.WAITING,
        started_at=sample.taken_at,
        booted_at=node.booted_at,
        pid=node.pid,
        hit_ratio_before=_ratio_before(sample, node.node),
    )
    # Two health runs that end together see the same boot
    RefillRun.objects.bulk_create([requested], ignore_conflicts=True)


def _ratio_before(sample: HealthSample, node: str) -> float | None:
    """Of the last time the node was seen before the loss, counted from the time before that."""
    earlier_ones = NodeSample.objects.filter(node=node, reachable=True, sample__lt=sample.pk).select_related("sample")
    seen = list(earlier_ones.order_by("-id")[:2])
    if not seen:
        return None
    earlier = seen[1] if len(seen) == 2 else None
    since = earlier.sample.taken_at if earlier else seen[0].booted_at
    # It was probed after that moment; what was read after its next boot is of other counters
    until = seen[0].sample.taken_at + CHECK_AT_MOST
    own = own_hits.within(since, until, node).get(server_of(node), ()) if since else ()
    return ratio_between(_facts(seen[0]), _facts(earlier) if earlier else None, health_runs=1, own=own)


def _measure_after(nodes: Sequence[NodeSample], now: datetime) -> None:
    ended = RefillRun.objects.filter(
        state=State.DONE,
        hit_ratio_after__isnull=True,
        hits_at_end__isnull=False,
        finished_at__range=(now - AFTER_AT_MOST, now - AFTER_AT_LEAST),
    )
    # The nodes were probed after `now`
    until = now + CHECK_AT_MOST
    by_node = {node.node: node for node in nodes if node.reachable}
    for row in ended.filter(node__in=by_node):
        facts = _facts(by_node[row.node])
        if _is_of(row, facts):
            reads = own_hits.within(row.finished_at, until, row.node) if row.finished_at else {}
            own = reads.get(server_of(row.node), ())
            row.hit_ratio_after = ratio_between(facts, _at_end(row), _health_runs(row), own)
            row.save(update_fields=["hit_ratio_after"])


def _health_runs(row: RefillRun) -> int:
    return NodeSample.objects.filter(node=row.node, reachable=True, sample__taken_at__gt=row.finished_at).count()


def _is_of(row: RefillRun, facts: NodeFacts) -> bool:
    """Whether the refill is of the boot that the node has now."""
    return not other_boot(facts, row.pid, row.booted_at.timestamp() if row.booted_at else None)


def _at_end(row: RefillRun) -> NodeFacts:
    booted = row.booted_at.timestamp() if row.booted_at else None
    return NodeFacts(
        row.node, reachable=True, pid=row.pid, booted_at=booted, hits=row.hits_at_end, misses=row.misses_at_end
    )


def _facts(node: NodeSample) -> NodeFacts:
    booted = node.booted_at.timestamp() if node.booted_at else None
    return NodeFacts(
        node.node, reachable=node.reachable, pid=node.pid, booted_at=booted, hits=node.hits, misses=node.misses
    )
