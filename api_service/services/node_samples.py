"""What a probe says and what the table keeps of it, there and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from api_service.models import HealthSample, NodeSample
from api_service.services.node_facts import NodeFacts, restarted

# Columns of the same name
COLUMNS = (
    *("node", "reachable", "error", "latency_ms", "latency_worst_ms", "version", "pid", "items"),
    *("bytes_used", "bytes_limit", "evictions", "expired_unfetched", "hits", "misses"),
    *("connections", "max_connections", "rejected_connections"),
    *("hit_ratio", "evictions_per_minute", "expired_unfetched_per_minute"),
)
# Of one kind of server only, or seldom there: in `details`, where they say something
DETAILS = ("first_error", "stats_error", "expired_keys", "maxmemory_policy", "fragmentation", "role", "link")


def row_of(sample: HealthSample, node: NodeFacts, known: NodeFacts | None) -> NodeSample:
    """Not saved yet. `known`: the facts of the node when it last answered."""
    facts = asdict(node)
    return NodeSample(
        sample=sample,
        booted_at=None if node.booted_at is None else datetime.fromtimestamp(node.booted_at, tz=UTC),
        restarted=restarted(node, known),
        details={name: facts[name] for name in DETAILS if facts[name] not in (None, "")},
        **{name: facts[name] for name in COLUMNS},
    )


def facts_of(row: NodeSample) -> NodeFacts:
    columns: dict[str, Any] = {name: getattr(row, name) for name in COLUMNS}
    details = {name: row.details[name] for name in DETAILS if name in row.details}
    facts = NodeFacts(**columns, **details)
    return replace(facts, booted_at=row.booted_at.timestamp() if row.booted_at else None)


def last_reachable(nodes: Iterable[str]) -> dict[str, NodeFacts]:
    """The facts of each node when it last answered."""
    return {row.node: facts_of(row) for row in rows_last_reachable(nodes)}


def rows_last_reachable(nodes: Iterable[str]) -> list[NodeSample]:
    answered = NodeSample.objects.filter(reachable=True).order_by("-id").select_related("sample")
    return [row for row in (answered.filter(node=node).first() for node in nodes) if row is not None]
