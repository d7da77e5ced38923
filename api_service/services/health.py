"""The cache as it is now: every node through a client of its own, and the alias as the application uses it.

Whatever hangs, a check ends within CHECK_SECONDS: nodes and alias are asked side by side, in threads that are left
behind when they take too long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, TypedDict

from django.conf import settings
from django.utils import timezone

from api_service.sentences import sentence
from api_service.services import alias_check, counted, health_rules, keys, node_rules
from api_service.services.alias_check import AliasFacts
from api_service.services.backends import Deadline, Entry
from api_service.services.backends.base import GETS_BESIDE, ROUND_TRIPS
from api_service.services.beside import beside
from api_service.services.durations import short
from api_service.services.health_rules import Finding, Severity
from api_service.services.inventory import Listing
from api_service.services.node_checks import PROBE_SECONDS, Asked, NodeChecks
from api_service.services.node_facts import NodeFacts, Since, with_rates
from api_service.services.node_rules import Limits, Unjudged
from api_service.services.own_hits import Operation

if TYPE_CHECKING:
    from api_service.services.cache_service import APICacheService

OK = "✅ OK"
BROKEN = "❌"
UNKNOWN = "⚠️"
NO_NODE = sentence("❌ no node answers")
ALIAS_BROKEN = sentence("❌ %(error)s")
LISTED = sentence("✅ %(count)s RUCs")
NOT_LISTED = sentence("⚠️ %(count)s RUCs; not listed: %(nodes)s")
# Of the 5 s of a health run: the rest is for what it reads and writes around the check
CHECK_SECONDS = 3.5
# Statistics list every key of every node
STATS_SECONDS = 60.0
SAMPLE_SIZE = 10


class HealthJSON(TypedDict):
    timestamp: str
    status: str
    backend: str
    checks: dict[str, str]
    nodes: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    unknown: list[dict[str, str]]
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
    nodes: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    nodes_failed: dict[str, str]


@dataclass(frozen=True)
class Report:
    """One check of everything, at `at`.

    `unknown`: (code, node) that could not be judged, which is neither well nor ill; the node is "*" for every node of
    that code, and "" for what belongs to none.
    """

    at: datetime
    status: Severity
    backend: str
    checks: dict[str, str]
    nodes: Sequence[NodeFacts]
    findings: Sequence[Finding]
    duration_ms: float
    unknown: Unjudged = frozenset()

    def with_findings(self, more: Iterable[Finding], unknown: Unjudged = frozenset()) -> Report:
        """What is known from elsewhere joins the verdict."""
        found = health_rules.worst_first([*self.findings, *more])
        status = health_rules.verdict(found)
        return replace(self, findings=found, status=status, unknown=self.unknown | unknown)

    def unknown_as_json(self) -> list[dict[str, str]]:
        return [{"code": code, "node": node} for code, node in sorted(self.unknown)]

    def as_json(self) -> HealthJSON:
        return {
            "timestamp": timezone.localtime(self.at).isoformat(),
            "status": self.status.value,
            "backend": self.backend,
            "checks": self.checks,
            "nodes": [asdict(node) for node in self.nodes],
            "findings": [finding.as_json() for finding in self.findings],
            "unknown": self.unknown_as_json(),
            "duration_ms": self.duration_ms,
        }


class Checking:
    """A check that has begun: others may be asked meanwhile."""

    def __init__(
        self,
        service: APICacheService,
        *,
        prefix: str | None = None,
        seconds: float = CHECK_SECONDS,
    ) -> None:
        self.at = timezone.now()
        self._started = monotonic()
        self._service = service
        # An alias that needs longer is of no use to anybody, however long the nodes take to list their keys
        self._alias_until = Deadline.after(PROBE_SECONDS)
        # The adapter finds its cache where it is made: in the caller's thread
        until, wanted = Deadline.after(seconds), _invalid_prefix(service) if prefix is None else prefix
        asked = Asked(ROUND_TRIPS, until, wanted, sizes=prefix is not None)
        self._nodes = NodeChecks(service.adapter, asked)
        self._alias = beside("check-alias", lambda: alias_check.check(service))

    def probed(self) -> None:
        """Waits for the nodes' answers, within their limit."""
        self._nodes.facts()

    def report(self, since: Mapping[str, Since] | None = None) -> Report:
        """Waits for what is still under way, within the limit. `since`: what the previous run saw of each node."""
        since = since or {}
        nodes = [with_rates(node, since.get(node.node), ROUND_TRIPS, GETS_BESIDE) for node in self._nodes.facts()]
        alias = self._alias_facts()
        found, unknown = node_rules.judged(nodes, alias.error, since, limits())
        found = health_rules.worst_first([*found, *alias.refusals])
        return Report(
            at=self.at,
            status=health_rules.verdict(found),
            backend=self._service.backend,
            checks=_checks(nodes, alias.error, *self._nodes.count()),
            nodes=nodes,
            findings=found,
            duration_ms=round((monotonic() - self._started) * 1000, 1),
            unknown=unknown | alias.unknown,
        )

    def listing(self) -> Listing:
        return self._nodes.listing()

    def _alias_facts(self) -> AliasFacts:
        try:
            return self._alias.result(self._alias_until.left())
        except TimeoutError:
            return alias_check.no_answer(PROBE_SECONDS)


def check(service: APICacheService, since: Mapping[str, Since] | None = None) -> Report:
    """Probe everything; `since` is what the previous run saw of each node."""
    return Checking(service).report(since)


def _invalid_prefix(service: APICacheService) -> str:
    return service.wire_prefix + service.get_service_cache_key("migo", "invalid_")


def limits() -> Limits:
    return Limits(
        latency_ms=settings.HEALTH_LATENCY_WARNING_MS,
        memory_share=settings.HEALTH_MEMORY_WARNING,
        evictions_per_minute=settings.HEALTH_EVICTIONS_PER_MINUTE,
        connections_share=settings.HEALTH_CONNECTIONS_WARNING,
        rejected_per_minute=settings.HEALTH_REJECTED_PER_MINUTE,
        hit_ratio=settings.HEALTH_HIT_RATIO_WARNING,
        hit_ratio_gets=settings.HEALTH_HIT_RATIO_GETS,
        fragmentation=settings.HEALTH_FRAGMENTATION_WARNING,
    )


def stats(service: APICacheService) -> StatsJSON:
    """The facts of a check, and counts from the live inventory of every node that passes it."""
    with counted.service(Operation.STATISTICS, service) as counting:
        checking = Checking(counting, prefix=service.wire_prefix, seconds=STATS_SECONDS)
        found = checking.listing()
        report = checking.report().as_json()
        invalid = _invalid_rucs(counting, found.entries)
    return {
        "timestamp": report["timestamp"],
        "status": report["status"],
        "backend": service.backend,
        "invalid_rucs": {
            "total_count": len(invalid),
            "sample": sorted(invalid)[:SAMPLE_SIZE],
            "breakdown_by_reason": breakdown_by_reason(invalid),
        },
        "timeouts": timeouts(),
        "services": _by_service(service, found.entries),
        "hit_ratio": _hit_ratio(report["nodes"]),
        "nodes": report["nodes"],
        "findings": report["findings"],
        "nodes_failed": found.failed,
    }


def _invalid_rucs(service: APICacheService, entries: Iterable[Entry]) -> dict[str, Any]:
    start, skipped = _invalid_prefix(service), len(service.wire_prefix)
    infos = service.get_many(entry.key[skipped:] for entry in entries if entry.key.startswith(start))
    return {key[len(start) - skipped :]: info for key, info in infos.items()}


def _hit_ratio(nodes: Iterable[Mapping[str, Any]]) -> float | None:
    """Over all nodes since their boots."""
    known = [(node["hits"] or 0, node["misses"] or 0) for node in nodes]
    hits, misses = (sum(column) for column in zip(*known, strict=True))
    return round(hits / (hits + misses), 4) if hits + misses else None


def timeouts() -> dict[str, str]:
    return {
        "default": short(settings.CACHE_TTL_DEFAULT),
        "ruc_valid": short(settings.CACHE_TTL_RUC),
        "ruc_invalid": short(settings.CACHE_TTL_INVALID_RUC),
        "rate_limit": short(settings.CACHE_TTL_RATE_LIMIT),
    }


def breakdown_by_reason(invalid_rucs: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    return dict(Counter(str(info.get("reason", "")) for info in invalid_rucs.values()).most_common())


def _checks(nodes: Sequence[NodeFacts], alias_error: str, invalid: int, not_listed: Collection[str]) -> dict[str, str]:
    down = [node.node for node in nodes if not node.reachable]
    rucs = _invalid_rucs_text(invalid, not_listed) if len(down) < len(nodes) else NO_NODE
    return {
        "connection": f"{BROKEN} {', '.join(down)}" if down else OK,
        "basic_operations": ALIAS_BROKEN % {"error": alias_error} if alias_error else OK,
        "invalid_rucs": rucs,
    }


def _invalid_rucs_text(found: int, not_listed: Collection[str]) -> str:
    if not_listed:
        return NOT_LISTED % {"count": found, "nodes": ", ".join(not_listed)}
    return LISTED % {"count": found}


def _by_service(service: APICacheService, entries: Sequence[Entry]) -> dict[str, ServiceJSON]:
    services: dict[str, ServiceJSON] = {}
    for entry in entries:
        if parts := keys.parse(entry.key.removeprefix(service.wire_prefix)):
            row = services.setdefault(parts.service, {"keys": 0, "bytes": 0})
            row["keys"] += 1
            row["bytes"] += entry.size
    return services
