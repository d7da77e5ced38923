"""The cache as it is now: every node through a client of its own, and the alias as the application uses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import uuid4

from django.conf import settings
from django.utils import timezone

from api_service.caches.errors import CacheOutage
from api_service.services import health_rules, inventory, keys, providers
from api_service.services.backends import Adapter, Entry
from api_service.services.backends.base import LOCK_PREFIX
from api_service.services.durations import short
from api_service.services.health_rules import Finding, Limits, NodeFacts, Severity, Since

if TYPE_CHECKING:
    from api_service.services.cache_service import APICacheService

OK = "✅ OK"
BROKEN = "❌"
UNKNOWN = "⚠️"
INVENTORY_SECONDS = 3.0
SAMPLE_SIZE = 10
PROBE_THREADS = 16


class HealthJSON(TypedDict):
    timestamp: str
    status: str
    backend: str
    checks: dict[str, str]
    nodes: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    duration_ms: float


class InvalidRucsJSON(TypedDict):
    total_count: int
    sample: list[str]
    breakdown_by_reason: dict[str, int]


class ServiceJSON(TypedDict):
    keys: int
    bytes: int


class StatsJSON(TypedDict):
    timestamp: str
    status: str
    backend: str
    invalid_rucs: InvalidRucsJSON
    timeouts: dict[str, str]
    services: dict[str, ServiceJSON]
    hit_ratio: float | None
    nodes_failed: dict[str, str]


@dataclass(frozen=True)
class Report:
    """One check of everything, at `at`. `unknown`: (code, node) that could not be judged, "*" for every node."""

    at: datetime
    status: Severity
    backend: str
    checks: dict[str, str]
    nodes: Sequence[NodeFacts]
    findings: Sequence[Finding]
    duration_ms: float
    unknown: frozenset[tuple[str, str]] = frozenset()

    def with_findings(self, more: Iterable[Finding]) -> Report:
        """What is known from elsewhere joins the verdict."""
        found = health_rules.worst_first([*self.findings, *more])
        return replace(self, findings=found, status=health_rules.verdict(found))

    def as_json(self) -> HealthJSON:
        return {
            "timestamp": timezone.localtime(self.at).isoformat(),
            "status": self.status.value,
            "backend": self.backend,
            "checks": self.checks,
            "nodes": [asdict(node) for node in self.nodes],
            "findings": [finding.as_json() for finding in self.findings],
            "duration_ms": self.duration_ms,
        }


def check(service: APICacheService, since: dict[str, Since] | None = None) -> Report:
    """Probe everything; `since` is what the previous run saw of each node."""
    started, at = monotonic(), timezone.now()
    nodes = probe_nodes(service.adapter)
    alias_error = check_alias(service)
    found = [*health_rules.findings(nodes, alias_error, since or {}, limits()), *_refusals(service)]
    return Report(
        at=at,
        status=health_rules.verdict(found),
        backend=service.backend,
        checks=_checks(service, nodes, alias_error),
        nodes=nodes,
        findings=found,
        duration_ms=round((monotonic() - started) * 1000, 1),
    )


def _refusals(service: APICacheService) -> list[Finding]:
    from api_service.services import refusals  # it needs the cache service, which needs this module

    said = {name: refusals.current(service, name) for name in providers.TABLE}
    return [health_rules.upstream_refused(name, text) for name, text in said.items() if text]


def limits() -> Limits:
    return Limits(
        latency_ms=settings.HEALTH_LATENCY_WARNING_MS,
        memory_share=settings.HEALTH_MEMORY_WARNING,
        evictions_per_minute=settings.HEALTH_EVICTIONS_PER_MINUTE,
    )


def probe_nodes(adapter: Adapter) -> list[NodeFacts]:
    """All nodes side by side: a frozen one costs its own time-outs, not the sum of all."""
    nodes = adapter.nodes()
    if len(nodes) == 1:
        return [adapter.probe(nodes[0])]
    with ThreadPoolExecutor(min(len(nodes), PROBE_THREADS)) as pool:
        return list(pool.map(adapter.probe, nodes))


def check_alias(service: APICacheService) -> str:
    """set → get → delete as the application does it; why it failed, or ""."""
    key, value = f"{LOCK_PREFIX}alias.{uuid4().hex}", uuid4().hex
    cache = service.cache
    # A node that came back a second ago is well: what this process remembers of it is not the question
    cache.retry_now()
    try:
        if not cache.store(key, value, 30):
            return "the write was refused"
        if cache.fetch(key) != value:
            return "read back another value than was written"
        return "" if cache.remove(key) else "the delete found nothing"
    except CacheOutage as error:
        return str(error)


def stats(service: APICacheService) -> StatsJSON:
    """Counts from the live inventory of every node."""
    at = timezone.now()
    nodes = probe_nodes(service.adapter)
    found = inventory.listing(service.adapter, service.wire_prefix)
    invalid = service.get_all_invalid_rucs()
    hits, misses = (sum(getattr(node, name) or 0 for node in nodes) for name in ("hits", "misses"))
    return {
        "timestamp": timezone.localtime(at).isoformat(),
        "status": health_rules.verdict(health_rules.findings(nodes, check_alias(service), {}, limits())).value,
        "backend": service.backend,
        "invalid_rucs": {
            "total_count": len(invalid),
            "sample": sorted(invalid)[:SAMPLE_SIZE],
            "breakdown_by_reason": breakdown_by_reason(invalid),
        },
        "timeouts": timeouts(),
        "services": _by_service(service, found.entries),
        "hit_ratio": round(hits / (hits + misses), 4) if hits + misses else None,
        "nodes_failed": found.failed,
    }


def timeouts() -> dict[str, str]:
    return {
        "default": short(settings.CACHE_TTL_DEFAULT),
        "ruc_valid": short(settings.CACHE_TTL_RUC),
        "ruc_invalid": short(settings.CACHE_TTL_INVALID_RUC),
        "rate_limit": short(settings.CACHE_TTL_RATE_LIMIT),
    }


def breakdown_by_reason(invalid_rucs: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    return dict(Counter(str(info.get("reason", "")) for info in invalid_rucs.values()).most_common())


def _checks(service: APICacheService, nodes: Sequence[NodeFacts], alias_error: str) -> dict[str, str]:
    down = [node.node for node in nodes if not node.reachable]
    return {
        "connection": f"{BROKEN} {', '.join(down)}" if down else OK,
        "basic_operations": f"{BROKEN} {alias_error}" if alias_error else OK,
        "invalid_rucs": _invalid_rucs_text(service, anything_up=len(down) < len(nodes)),
    }


def _invalid_rucs_text(service: APICacheService, *, anything_up: bool) -> str:
    if not anything_up:
        return f"{BROKEN} no node answers"
    prefix = service.wire_prefix + service.get_service_cache_key("migo", "invalid_")
    found = inventory.listing(service.adapter, prefix, INVENTORY_SECONDS)
    if found.failed:
        return f"{UNKNOWN} {len(found.entries)} RUCs; not listed: {', '.join(found.failed)}"
    return f"✅ {len(found.entries)} RUCs"


def _by_service(service: APICacheService, entries: Sequence[Entry]) -> dict[str, ServiceJSON]:
    services: dict[str, ServiceJSON] = {}
    for entry in entries:
        if parts := keys.parse(entry.key.removeprefix(service.wire_prefix)):
            row = services.setdefault(parts.service, {"keys": 0, "bytes": 0})
            row["keys"] += 1
            row["bytes"] += entry.size
    return services
