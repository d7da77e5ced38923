"""Nodes that left CACHE_URL: they took their keys along, whose rows become "removed"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from api_service.models import NodeListing, TrackedKey, TrackRun

OPEN = (TrackedKey.State.ACTIVE, TrackedKey.State.UNKNOWN)
BATCH = 5000


def retired(nodes: Collection[str]) -> list[str]:
    """Nodes of the key table that are not among `nodes` and whose rows are not closed yet: a few probes of an index."""
    found, last = [], ""
    while node := _next_node(last):
        if node not in nodes and not _is_closed(node):
            found.append(node)
        last = node
    return found


def _next_node(after: str) -> str | None:
    """DISTINCT would read the whole table."""
    return nodes_after(after).first()


def nodes_after(node: str) -> QuerySet[TrackedKey, str]:
    """In the order of the index by node, state and key, as all queries here are."""
    return TrackedKey.objects.filter(node__gt=node).order_by("node").values_list("node", flat=True)


def _is_closed(node: str) -> bool:
    last = NodeListing.objects.filter(node=node, listed_at__isnull=False).order_by("-listed_at").first()
    return last is not None and last.retired and last.state == TrackRun.State.DONE


def close_rows(node: str, now: datetime) -> Counter[str]:
    """Service → rows that became "removed"; in batches, and once more over the same node does no harm."""
    services: Counter[str] = Counter()
    for state in OPEN:
        last = ""
        while batch := _close_batch(node, state, last, now):
            services.update(service for _key, service in batch)
            last = batch[-1][0]
    return services


def open_rows(node: str, state: str, after: str) -> QuerySet[TrackedKey]:
    return TrackedKey.objects.filter(node=node, state=state, key__gt=after).order_by("key")


def _close_batch(node: str, state: str, after: str, now: datetime) -> list[tuple[str, str]]:
    """(key, service) of those closed. Locked in the order of their keys, as the read counter does."""
    rows = open_rows(node, state, after)
    with transaction.atomic():
        batch = list(rows.select_for_update(no_key=True).values_list("key", "service")[:BATCH])
        if batch:
            rows.filter(key__lte=batch[-1][0]).order_by().update(state=TrackedKey.State.REMOVED, seen_at=now)
    return batch
