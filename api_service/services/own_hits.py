"""Hits that nobody's look-up was: an inventory reads on the nodes, and they count it as any other get.

Nothing reads a value without being counted, nor does Redis tell the end of a key. So what reads there keeps the node's
count of hits from before its first read and from after its last one, and how many were its own: whoever compares two
readings of that count leaves those out, and knows of a reading that lies amid them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypedDict

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from api_service.models import NodeListing
from api_service.services.backends import Adapter, Entry
from api_service.services.node_facts import OwnReads

# A run has read all that it reads so long after it began
LONGEST_RUN = timedelta(hours=1)
# Between the hosts of an inventory and of who compares two readings
CLOCKS_APART = timedelta(seconds=30)


class OwnReadsJSON(TypedDict):
    """As `OwnReads`; the times are ISO 8601 with offset. `ended` is null while they go on."""

    began: str
    ended: str | None
    first: int | None
    last: int | None
    hits: int | None


@dataclass(slots=True)
class Tally:
    hits: int = 0


@contextmanager
def reading(run: int, adapter: Adapter, node: str) -> Iterator[Tally]:
    """Around the reads of an inventory on one node: they are on record before the first of them is made.

    `hits` is for the caller to count them. What stops them leaves their number unknown: a reply that was not received
    was counted, too.
    """
    tally, before, began = Tally(), adapter.probe(node).hits, timezone.now()
    number = _begin(run, node, before, began)
    hits: int | None = None
    try:
        yield tally
        # The gets of the two probes are ours as well
        hits = tally.hits + 2
    finally:
        _end(run, node, number, adapter.probe(node).hits, hits)


def counted(entries: Iterable[Entry], run: int, adapter: Adapter, node: str) -> Iterator[Entry]:
    """The entries of a scan that its server counts, keys of others among them."""
    with reading(run, adapter, node) as own:
        for entry in entries:
            own.hits += 1
            yield entry


def within(at: datetime, until: datetime, node: str | None = None) -> dict[str, list[OwnReads]]:
    """What inventories have read on each node, or that one, between the two or partly so. One query.

    Also what lies CLOCKS_APART from them, if the node's counts are there to tell whether it was between.
    """
    found: defaultdict[str, list[OwnReads]] = defaultdict(list)
    rows = _of_runs(at, until + CLOCKS_APART)
    if node is not None:
        rows = rows.filter(node=node)
    for name, reads in rows.values_list("node", "own_reads"):
        found[name] += [_plain(own) for own in reads if _touches(own, at, until)]
    return dict(found)


def close_left(now: datetime) -> None:
    """Reads whose process was killed end now at the latest. Under the run lock: who still reads has lost its claim."""
    for run, node, reads in _of_runs(now, now).values_list("run", "node", "own_reads"):
        if any(own["ended"] is None for own in reads):
            with _row(run, node) as row:
                for own in row.own_reads:
                    own["ended"] = own["ended"] or now.isoformat()


def _of_runs(at: datetime, until: datetime) -> QuerySet[NodeListing]:
    runs = NodeListing.objects.filter(run__started_at__gt=at - LONGEST_RUN, run__started_at__lte=until)
    return runs.exclude(own_reads=[])


def _touches(own: OwnReadsJSON, at: datetime, until: datetime) -> bool:
    is_over = own["ended"] is not None and datetime.fromisoformat(own["ended"]) <= at - _slack(own["last"])
    return not is_over and datetime.fromisoformat(own["began"]) <= until + _slack(own["first"])


def _slack(hits: int | None) -> timedelta:
    """Without a count nothing but the clock tells on which side of a reading it was."""
    return timedelta() if hits is None else CLOCKS_APART


def _plain(own: OwnReadsJSON) -> OwnReads:
    return OwnReads(own["first"], own["last"], own["hits"])


def _begin(run: int, node: str, hits: int | None, at: datetime) -> int:
    """Its number among those of the node."""
    first = None if hits is None else hits - 1
    with _row(run, node) as row:
        row.own_reads.append(OwnReadsJSON(began=at.isoformat(), ended=None, first=first, last=None, hits=None))
        return len(row.own_reads) - 1


def _end(run: int, node: str, number: int, last: int | None, hits: int | None) -> None:
    with _row(run, node) as row:
        row.own_reads[number] |= {"ended": timezone.now().isoformat(), "last": last, "hits": hits}


@contextmanager
def _row(run: int, node: str) -> Iterator[NodeListing]:
    """To be changed: two may read on a node where one of them lost its claim."""
    with transaction.atomic():
        row = NodeListing.objects.select_for_update().only("own_reads").get(run=run, node=node)
        yield row
        row.save(update_fields=["own_reads"])
