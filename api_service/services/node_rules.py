"""From the facts of every node to findings, and to what could not be judged: pure rules, no I/O, no clock.

A rule answers in three ways: a finding, nothing wrong, or that the facts do not tell. A node that is down says nothing
of its memory: whoever took that for "memory is fine now" would close an incident that is as open as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from api_service.sentences import sentence
from api_service.services.health_rules import Finding, Severity, reading_blind, worst_first
from api_service.services.node_facts import NodeFacts, Since, continues, gets_since, increase, restarted

NODE_DOWN = "node_down"
PATH_BROKEN = "cache_path_broken"
# Of a node that keeps its statistics to itself, all else that a probe tells
WITHOUT_STATISTICS = frozenset({"node_slow", "reading_blind"})
# (code, node); the node is "" for what belongs to none
Unjudged: TypeAlias = frozenset[tuple[str, str]]

NO_EVICTION = "noeviction"
REPLICA = "slave"  # as INFO calls it
LINKS = {"up": sentence("link up"), "down": sentence("link down")}
# Below, a few idle megabytes of the allocator are several times what the keys need
FRAGMENTATION_FROM_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Each is the most that is still in order, but for `hit_ratio`, the least. 0 for the last three: not judged."""

    latency_ms: float = 50.0
    memory_share: float = 0.95
    evictions_per_minute: float = 60.0
    connections_share: float = 0.9
    rejected_per_minute: float = 0.0
    hit_ratio: float = 0.2
    hit_ratio_gets: int = 200
    fragmentation: float = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A node that answers, with what the previous run saw of it."""

    facts: NodeFacts
    since: Since | None

    @property
    def node(self) -> str:
        return self.facts.node


class Judgement(Enum):
    FINE = "fine"
    UNKNOWN = "unknown"


FINE, UNKNOWN = Judgement.FINE, Judgement.UNKNOWN
Rule: TypeAlias = Callable[[Seen, Limits], "Finding | Judgement"]


def judged(
    nodes: Sequence[NodeFacts], alias_error: str, since: Mapping[str, Since], limits: Limits
) -> tuple[list[Finding], Unjudged]:
    """All findings over all nodes, worst first, and what could not be judged.

    `alias_error` is why the application's own path failed, or "".
    """
    found: list[Finding] = []
    unknown: set[tuple[str, str]] = set()
    for facts in nodes:
        for code, said in of_node(facts, since.get(facts.node), limits):
            if isinstance(said, Finding):
                found.append(said)
            elif said is UNKNOWN:
                unknown.add((code, facts.node))
    path = _path(alias_error, found)
    if isinstance(path, Finding):
        found.append(path)
    elif path is UNKNOWN:
        unknown.add((PATH_BROKEN, ""))
    return worst_first(found), frozenset(unknown)


def of_node(facts: NodeFacts, since: Since | None, limits: Limits) -> Iterable[tuple[str, Finding | Judgement]]:
    """What each rule says of the node, by its code."""
    if not facts.reachable:
        yield NODE_DOWN, Finding("node_down", Severity.UNHEALTHY, facts.node, facts.error)
        yield from ((code, UNKNOWN) for code in RULES)
        return
    yield NODE_DOWN, FINE
    seen = Seen(facts, since)
    mute = RULES.keys() - WITHOUT_STATISTICS if facts.stats_error else frozenset[str]()
    yield from ((code, UNKNOWN if code in mute else rule(seen, limits)) for code, rule in RULES.items())


def _path(alias_error: str, found: Iterable[Finding]) -> Finding | Judgement:
    if not alias_error:
        return FINE
    if any(finding.code == NODE_DOWN for finding in found):
        # That explains it, and hides whether anything else does
        return UNKNOWN
    return Finding("cache_path_broken", Severity.UNHEALTHY, value=alias_error)


def _restarted(seen: Seen, _limits: Limits) -> Finding | Judgement:
    if seen.since is None or not seen.since.facts.reachable:
        return UNKNOWN
    return _warning("node_restarted", seen) if restarted(seen.facts, seen.since.facts) else FINE


def _slow(seen: Seen, limits: Limits) -> Finding | Judgement:
    """By the median: one packet that was sent twice is no slow node."""
    return _at_most("node_slow", seen, seen.facts.latency_ms, limits.latency_ms, digits=1)


def _evicting(seen: Seen, limits: Limits) -> Finding | Judgement:
    return _at_most("evictions_high", seen, seen.facts.evictions_per_minute, limits.evictions_per_minute, digits=1)


def _full(seen: Seen, limits: Limits) -> Finding | Judgement:
    """A full cache that evicts nothing is doing its job, unless it cannot: without a policy it refuses writes."""
    share = _share(seen.facts.bytes_used, seen.facts.bytes_limit)
    per_minute = seen.facts.evictions_per_minute
    if seen.facts.maxmemory_policy != NO_EVICTION:
        if per_minute == 0:
            return FINE
        if per_minute is None or per_minute > limits.evictions_per_minute:
            # The second is `evictions_high`, which says the same and more
            return UNKNOWN
    return _at_most("memory_high", seen, share, limits.memory_share)


def _connected(seen: Seen, limits: Limits) -> Finding | Judgement:
    share = _share(seen.facts.connections, seen.facts.max_connections)
    return _at_most("connections_high", seen, share, limits.connections_share)


def _rejecting(seen: Seen, limits: Limits) -> Finding | Judgement:
    if seen.since is None or not continues(seen.facts, seen.since):
        return UNKNOWN
    rejected = increase(seen.facts.rejected_connections, seen.since.facts.rejected_connections)
    per_minute = None if rejected is None else rejected * 60 / seen.since.seconds
    return _at_most("connections_rejected", seen, per_minute, limits.rejected_per_minute, digits=2)


def _missing(seen: Seen, limits: Limits) -> Finding | Judgement:
    """A handful of gets says nothing of a cache, and at night there are no more."""
    if not limits.hit_ratio:
        return FINE
    ratio = seen.facts.hit_ratio
    if ratio is None or _gets(seen) < limits.hit_ratio_gets:
        return UNKNOWN
    return _warning("hit_ratio_low", seen, round(ratio, 3), limits.hit_ratio) if ratio < limits.hit_ratio else FINE


def _without_policy(seen: Seen, _limits: Limits) -> Finding | Judgement:
    facts = seen.facts
    if facts.bytes_limit and facts.maxmemory_policy == NO_EVICTION:
        return _warning("redis_policy", seen, facts.maxmemory_policy)
    return FINE


def _fragmented(seen: Seen, limits: Limits) -> Finding | Judgement:
    if not limits.fragmentation or seen.facts.fragmentation is None:
        return FINE
    if (seen.facts.bytes_used or 0) < FRAGMENTATION_FROM_BYTES:
        return FINE
    return _at_most("redis_fragmented", seen, seen.facts.fragmentation, limits.fragmentation, digits=2)


def _replica(seen: Seen, _limits: Limits) -> Finding | Judgement:
    """One that takes writes loses them at its next synchronisation; one that takes none does not pass the probe."""
    if seen.facts.role != REPLICA:
        return FINE
    return _warning("redis_replica", seen, LINKS.get(seen.facts.link, sentence("link ?")))


def _mute(seen: Seen, _limits: Limits) -> Finding | Judgement:
    return reading_blind(seen.node, seen.facts.stats_error) if seen.facts.stats_error else FINE


# Code → rule of a node that answers
RULES: Mapping[str, Rule] = {
    "node_restarted": _restarted,
    "node_slow": _slow,
    "evictions_high": _evicting,
    "memory_high": _full,
    "connections_high": _connected,
    "connections_rejected": _rejecting,
    "hit_ratio_low": _missing,
    "redis_policy": _without_policy,
    "redis_fragmented": _fragmented,
    "redis_replica": _replica,
    "reading_blind": _mute,
}


def _at_most(code: str, seen: Seen, value: float | None, limit: float, *, digits: int = 3) -> Finding | Judgement:
    if value is None:
        return UNKNOWN
    return _warning(code, seen, round(value, digits), limit) if value > limit else FINE


def _warning(code: str, seen: Seen, value: float | str = "", limit: float | str = "") -> Finding:
    return Finding(code, Severity.WARNING, seen.node, value, limit)


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole


def _gets(seen: Seen) -> int:
    gets = None if seen.since is None else gets_since(seen.facts, seen.since)
    return 0 if gets is None else gets.hits + gets.misses
