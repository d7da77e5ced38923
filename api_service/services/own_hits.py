"""Gets that nobody's look-up was: operations of ours read on the nodes, which count that as any other get.

Nothing reads a value without being counted, nor does Redis tell the end of a key. So what reads there keeps the node's
count of hits from before its first read and from after its last one, and how many hits and misses were its own: whoever
compares two readings of the node leaves those out, and knows of a reading that lies amid them.

Who reads a handful keeps nothing: clearings, refills, health runs.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from threading import get_ident
from time import monotonic

from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Q
from django.utils import timezone

from api_service.models import OperationReads
from api_service.services.backends import Adapter, Deadline
from api_service.services.backends.base import PROBE_TIMEOUT, server_of
from api_service.services.beside import beside
from api_service.services.node_facts import NodeFacts, OwnReads

logger = logging.getLogger(__name__)

Operation = OperationReads.Operation

# Reads that a kill left open are over so long after they were last renewed
LEASE = timedelta(seconds=90)
RENEW_SECONDS = 20.0
# Between the hosts of who reads and of who compares two readings
CLOCKS_APART = timedelta(seconds=30)
# Readings that are compared lie minutes apart; further than this only where no health run was made for so long
KEPT = timedelta(days=7)
# Connecting and each answer have a time-out of their own
PROBES_SECONDS = 3 * PROBE_TIMEOUT


@dataclass(slots=True)
class Tally:
    """`unanswered`: questions without their whole reply, yet or for good: what they ask for may be counted as well."""

    hits: int = 0
    misses: int = 0
    unanswered: int = 0


class Reads:
    """What one operation has read so far, node by node, in rows that its own thread renews while it counts."""

    def __init__(self, rows: Sequence[OperationReads] = (), answering: Sequence[str] = ()) -> None:
        """`answering`: the nodes that did when the reads began. One that hangs costs a wait each time it is asked."""
        self.answering = answering
        self._rows = rows
        self._tallies = defaultdict[str, Tally](Tally)
        self._thread = get_ident()
        self._renew_at = monotonic() + RENEW_SECONDS

    def of(self, node: str) -> Tally:
        return self._tallies[node]

    def add(self, node: str, hits: int, misses: int) -> None:
        tally = self._tallies[node]
        tally.hits += hits
        tally.misses += misses
        self.go_on()

    def go_on(self) -> None:
        """Cheap to call. Another thread would leave a connection of the database behind."""
        if monotonic() >= self._renew_at and get_ident() == self._thread:
            self._renew_at = monotonic() + RENEW_SECONDS
            over_by, mine = timezone.now() + LEASE, [row.pk for row in self._rows]
            with _tolerated():
                OperationReads.objects.filter(pk__in=mine).update(over_by=over_by)


@contextmanager
def reading(
    operation: Operation, adapter: Adapter, nodes: Sequence[str], away: Collection[str] = ()
) -> Iterator[Reads]:
    """Around the reads of an operation on some nodes: they are on record before the first of them is made.

    Those of `away` are not asked for their counts, as they did not answer a moment ago: one that is back has no ratio.

    Its caller counts them. What stops them leaves their number unknown: a reply that was not received was counted, too.
    A database that fails stops no operation: its reads look like look-ups then, or there is no ratio for a LEASE.
    """
    seen = {node: NodeFacts(node, reachable=False) for node in away}
    seen |= _probed(adapter, [node for node in nodes if node not in away])
    rows, answering = _begun(operation, seen, timezone.now()), [node for node in nodes if seen[node].reachable]
    reads, completed = Reads(rows, answering), False
    try:
        yield reads
        completed = True
    finally:
        _end(rows, reads, _probed(adapter, answering if rows else ()), completed=completed)


def within(at: datetime, until: datetime, node: str | None = None) -> dict[str, list[OwnReads]]:
    """What operations have read on each server (`server_of` a node), or on that one's, between the two or partly so.
    One query.

    Also what lies CLOCKS_APART from them, if the node's counts are there to tell whether it was between: without them
    nothing but the clock does.
    """
    not_over = Q(over_by__gt=at) | Q(over_by__gt=at - CLOCKS_APART, hits_after__isnull=False)
    has_begun = Q(began_at__lte=until) | Q(began_at__lte=until + CLOCKS_APART, hits_before__isnull=False)
    rows = OperationReads.objects.filter(not_over, has_begun)
    if node is not None:
        server = server_of(node)
        rows = rows.filter(Q(node=server) | Q(node__startswith=f"{server}/"))
    found: defaultdict[str, list[OwnReads]] = defaultdict(list)
    for row in rows:
        found[server_of(row.node)].append(OwnReads(row.hits_before, row.hits_after, row.hits, row.misses or 0))
    return dict(found)


def _probed(adapter: Adapter, nodes: Iterable[str]) -> Mapping[str, NodeFacts]:
    """Side by side: a node that hangs costs a wait once, however many there are."""
    until = Deadline.after(PROBES_SECONDS)
    asked = {node: beside(f"count-{node}", partial(adapter.probe, node)) for node in nodes}
    return {node: _facts(node, future, until) for node, future in asked.items()}


def _facts(node: str, future: Future[NodeFacts], until: Deadline) -> NodeFacts:
    try:
        return future.result(until.left())
    except TimeoutError:
        return NodeFacts(node, reachable=False)


def _begun(operation: Operation, facts: Mapping[str, NodeFacts], now: datetime) -> list[OperationReads]:
    """Of a node that answers and tells no counts there is no ratio either: local memory, a proxy."""
    rows = [
        OperationReads(
            node=node,
            operation=operation,
            began_at=now,
            over_by=now + LEASE,
            # The get of the probe is ours as well
            hits_before=None if seen.hits is None else seen.hits - 1,
        )
        for node, seen in facts.items()
        if seen.hits is not None or not seen.reachable
    ]
    return _kept(rows) if rows else []


def _kept(rows: list[OperationReads]) -> list[OperationReads]:
    kept: list[OperationReads] = []
    with _tolerated():
        kept += OperationReads.objects.bulk_create(rows)
    return kept


def _end(rows: Sequence[OperationReads], reads: Reads, facts: Mapping[str, NodeFacts], *, completed: bool) -> None:
    if not rows:
        return
    now = timezone.now()
    for row in rows:
        tally = reads.of(row.node)
        row.over_by, row.hits_after = now, facts[row.node].hits if row.node in facts else None
        if completed and not tally.unanswered and None not in (row.hits_before, row.hits_after):
            # With the gets of the two probes
            row.hits, row.misses = tally.hits + 2, tally.misses
    with _tolerated():
        OperationReads.objects.bulk_update(rows, ["over_by", "hits_after", "hits", "misses"])


@contextmanager
def _tolerated() -> Iterator[None]:
    try:
        # In a transaction of the caller's an error would forbid all that follows
        with transaction.atomic():
            yield
    except (DatabaseError, InterfaceError) as error:
        logger.warning("reads of our own are not on record, hit ratios may be wrong or missing: %s", error)
