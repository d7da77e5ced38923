"""Hits that nobody's look-up was: an inventory reads on the nodes, and they count it as any other get.

Nothing reads a value without being counted, nor does Redis tell the end of a key. So the run keeps how many hits were
its own and what the node's count was after them; whoever compares two readings of that count leaves out what of them
lies between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypedDict

from django.utils import timezone

from api_service.models import TrackRun
from api_service.services.backends import Adapter
from api_service.services.node_facts import Span

# A run begins at most so long before it reads values
LONGEST_RUN = timedelta(hours=1)


class OwnHitsJSON(TypedDict):
    """`hits`: how many, the last of which made the node's count `up_to`; `at` is ISO 8601 with offset."""

    hits: int
    up_to: int
    at: str


def note(run: int, adapter: Adapter, read: Mapping[str, int]) -> None:
    """Keep with the inventory what it has just read on each node. For the one process that ends it."""
    row = TrackRun.objects.get(pk=run)
    for node, facts in row.nodes.items():
        hits = read.get(node, 0) + (facts["keys"] if adapter.scan_counts else 0)
        up_to = adapter.probe(node).hits if hits else None
        if up_to is not None:
            # The get of the probe is ours as well
            facts["own"] = OwnHitsJSON(hits=hits + 1, up_to=up_to, at=timezone.now().isoformat())
    row.save(update_fields=["nodes"])


def since(at: datetime) -> dict[str, list[Span]]:
    """What inventories have read on each node since then. One query."""
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for nodes in TrackRun.objects.filter(started_at__gt=at - LONGEST_RUN).values_list("nodes", flat=True):
        for node, facts in nodes.items():
            own: OwnHitsJSON | None = facts.get("own")
            if own is not None and datetime.fromisoformat(own["at"]) > at:
                spans[node].append((own["up_to"] - own["hits"], own["up_to"]))
    return dict(spans)
