"""From the facts of every node to findings and a verdict: pure rules, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """The verdict's scale, best first."""

    HEALTHY = "healthy"
    WARNING = "warning"
    UNHEALTHY = "unhealthy"


RANK = {Severity.HEALTHY: 0, Severity.WARNING: 1, Severity.UNHEALTHY: 2}


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node as probed by a client of its own. Counters are since its boot; None is "it did not say".

    `error` is a short text when the node did not pass set → get → delete; times are Unix seconds, sizes bytes.
    """

    node: str
    reachable: bool
    error: str = ""
    latency_ms: float | None = None
    version: str = ""
    pid: int | None = None
    booted_at: float | None = None
    items: int | None = None
    bytes_used: int | None = None
    bytes_limit: int | None = None
    evictions: int | None = None
    hits: int | None = None
    misses: int | None = None
    connections: int | None = None
    max_connections: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    latency_ms: float = 50.0
    memory_share: float = 0.95
    evictions_per_minute: float = 60.0
    connections_share: float = 0.9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code` is stable: the runbook has an entry for each.

    `since` is the first run in a row that saw it; `counts` is false until enough of the last runs did.
    """

    code: str
    severity: Severity
    node: str = ""
    value: float | str = ""
    limit: float | str = ""
    since: datetime | None = None
    counts: bool = True

    def as_json(self) -> dict[str, Any]:
        since = self.since.isoformat() if self.since else None
        return {**asdict(self), "severity": self.severity.value, "since": since}


@dataclass(frozen=True, slots=True)
class Since:
    """What the previous run saw of a node, and how many seconds ago."""

    facts: NodeFacts
    seconds: float


BOOT_JITTER_SECONDS = 3  # `time - uptime` moves by a second or two between readings


def restarted(now: NodeFacts, before: NodeFacts | None) -> bool:
    """A new process id or a later boot time; a falling uptime alone can miss one."""
    if before is None or not now.reachable or before.booted_at is None or now.booted_at is None:
        return False
    return now.pid != before.pid or now.booted_at - before.booted_at > BOOT_JITTER_SECONDS


def findings(facts: Sequence[NodeFacts], alias_error: str, since: dict[str, Since], limits: Limits) -> list[Finding]:
    """All findings over all nodes, worst first. `alias_error` is why the application's own path failed, or ""."""
    found = [finding for node in facts for finding in _of_node(node, since.get(node.node), limits)]
    if alias_error and not any(finding.code == "node_down" for finding in found):
        found.append(Finding("cache_path_broken", Severity.UNHEALTHY, value=alias_error))
    return worst_first(found)


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: (-RANK[finding.severity], finding.code, finding.node))


def upstream_refused(service: str, said: str) -> Finding:
    """The provider takes neither token nor plan: what is cached is served, everything else fails."""
    return Finding("upstream_refused", Severity.WARNING, service, said)


def stale_served(service: str, said: str) -> Finding:
    """Callers were shown answers past their life, as no newer ones could be had; `said`: how many, how old, and why."""
    return Finding("stale_served", Severity.WARNING, service, said)


def _of_node(node: NodeFacts, since: Since | None, limits: Limits) -> Iterable[Finding]:
    if not node.reachable:
        yield Finding("node_down", Severity.UNHEALTHY, node.node, node.error)
        return
    if restarted(node, since.facts if since else None):
        yield Finding("node_restarted", Severity.WARNING, node.node)
    if node.latency_ms is not None and node.latency_ms > limits.latency_ms:
        yield Finding("node_slow", Severity.WARNING, node.node, round(node.latency_ms, 1), limits.latency_ms)
    yield from _of_memory(node, since, limits)
    if node.connections and node.max_connections:
        share = node.connections / node.max_connections
        if share > limits.connections_share:
            yield Finding("connections_high", Severity.WARNING, node.node, round(share, 3), limits.connections_share)


def _of_memory(node: NodeFacts, since: Since | None, limits: Limits) -> Iterable[Finding]:
    """Evictions tell that memory is short; a full cache that evicts nothing is doing its job."""
    per_minute = evictions_per_minute(node, since)
    if per_minute > limits.evictions_per_minute:
        yield Finding("evictions_high", Severity.WARNING, node.node, round(per_minute, 1), limits.evictions_per_minute)
    elif per_minute > 0 and node.bytes_used and node.bytes_limit:
        share = node.bytes_used / node.bytes_limit
        if share > limits.memory_share:
            yield Finding("memory_high", Severity.WARNING, node.node, round(share, 3), limits.memory_share)


def evictions_per_minute(node: NodeFacts, since: Since | None) -> float:
    """0 for the first run and after a restart, when the counters began anew."""
    if since is None or since.seconds <= 0 or restarted(node, since.facts):
        return 0.0
    if node.evictions is None or since.facts.evictions is None:
        return 0.0
    return max(0, node.evictions - since.facts.evictions) * 60 / since.seconds


def hit_ratio(node: NodeFacts, since: Since | None) -> float | None:
    """Hits over gets since the previous run, since boot when there was none; None without gets."""
    hits, misses = node.hits or 0, node.misses or 0
    if since is not None and not restarted(node, since.facts):
        hits_before, misses_before = since.facts.hits or 0, since.facts.misses or 0
        # Counters can be set back without a restart: `stats reset`, CONFIG RESETSTAT
        if hits >= hits_before and misses >= misses_before:
            hits, misses = hits - hits_before, misses - misses_before
    return hits / (hits + misses) if hits + misses > 0 else None


def verdict(found: Iterable[Finding]) -> Severity:
    """Of the findings that count."""
    counting = (finding.severity for finding in found if finding.counts)
    return max(counting, key=RANK.__getitem__, default=Severity.HEALTHY)
