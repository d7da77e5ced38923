"""A node as a probe saw it, and what changed since the run before: pure, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class OwnReads:
    """What an operation of ours read on a node: `hits` of those that the node counted from `first` to `last`, `misses`
    of those that it counted meanwhile.

    None is "not known", with `hits` also the misses; without `last` they may still go on.
    """

    first: int | None
    last: int | None
    hits: int | None
    misses: int = 0


class Gets(NamedTuple):
    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node as probed by a client of its own. Counters are since its boot; None is "it did not say".

    `error` is a short text when the node did not pass set → get → delete; times are Unix seconds, sizes bytes.
    """

    node: str
    reachable: bool
    error: str = ""
    # Why the first attempt failed, where the second one passed or failed as well
    first_error: str = ""
    # Median and worst of the round trips of this probe
    latency_ms: float | None = None
    latency_worst_ms: float | None = None
    version: str = ""
    pid: int | None = None
    booted_at: float | None = None
    items: int | None = None
    bytes_used: int | None = None
    bytes_limit: int | None = None
    evictions: int | None = None
    expired_unfetched: int | None = None
    hits: int | None = None
    misses: int | None = None
    connections: int | None = None
    max_connections: int | None = None
    # Of connections for which the node had no room
    rejected_connections: int | None = None
    # Why it does not tell what it counts, while it serves
    stats_error: str = ""
    # Since the run before; None for the first run, and after a restart or a reset of the counters
    hit_ratio: float | None = None
    evictions_per_minute: float | None = None
    expired_unfetched_per_minute: float | None = None
    # Of Redis: `role` is "master" or "slave", `link` that of a replica to its primary, "up" or "down"
    expired_keys: int | None = None
    maxmemory_policy: str = ""
    fragmentation: float | None = None
    role: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Since:
    """What the previous run saw of a node, and how many seconds ago.

    `own`: what was read on it since then that is nobody's look-up.
    """

    facts: NodeFacts
    seconds: float
    own: tuple[OwnReads, ...] = ()


BOOT_JITTER_SECONDS = 3  # `time - uptime` moves by a second or two between readings


def restarted(now: NodeFacts, before: NodeFacts | None) -> bool:
    """A new process id or a later boot time; a falling uptime alone can miss one."""
    if before is None or not now.reachable or before.booted_at is None or now.booted_at is None:
        return False
    return now.pid != before.pid or now.booted_at - before.booted_at > BOOT_JITTER_SECONDS


def with_rates(now: NodeFacts, since: Since | None, own_hits: int = 0, own_gets: int = 0) -> NodeFacts:
    """`now` with what happened since the previous run; unchanged where that cannot be told.

    `own_hits` of the probe itself are nobody's, nor are so few as `own_gets` of the check, which may have been sent to
    another node: an idle node has no hit ratio.
    """
    if since is None or not continues(now, since):
        return now
    before, seconds = since.facts, since.seconds
    gets = gets_since(now, since)
    return replace(
        now,
        hit_ratio=None if gets is None else _ratio(max(0, gets.hits - own_hits), gets.misses, own_gets),
        evictions_per_minute=_per_minute(increase(now.evictions, before.evictions), seconds),
        expired_unfetched_per_minute=_per_minute(increase(now.expired_unfetched, before.expired_unfetched), seconds),
    )


def continues(now: NodeFacts, since: Since) -> bool:
    """Whether the counters of the two go on from each other: the same boot, some time apart."""
    return since.seconds > 0 and now.reachable and since.facts.reachable and not restarted(now, since.facts)


def gets_since(now: NodeFacts, since: Since) -> Gets | None:
    """Those of look-ups; None where the node cannot tell, or one of the two lies amid reads of our own."""
    before = since.facts
    hits, misses = increase(now.hits, before.hits), increase(now.misses, before.misses)
    if hits is None or misses is None or now.hits is None:
        return None
    own = own_between(since.own, now.hits - hits, now.hits)
    return None if own is None else Gets(hits - own.hits, max(0, misses - own.misses))


def own_between(reads: Iterable[OwnReads], before: int, now: int) -> Gets | None:
    """How many of the gets that a node counted while its hits went from `before` to `now` are in `reads`.

    None where one of the two lies amid them: how many had been made by then nobody knows, as others ask meanwhile.
    """
    hits = misses = 0
    for own in reads:
        if (gets := _gets_of(own, before, now)) is None:
            return None
        hits += gets.hits
        misses += gets.misses
    return Gets(hits, misses)


def _gets_of(own: OwnReads, before: int, now: int) -> Gets | None:
    first, last = own.first, own.last
    # The node could not be asked then, or booted amid the reads
    if first is None or (last is not None and last < first):
        return None
    if now <= first or (last is not None and last <= before):
        return Gets(0, 0)
    if last is None or own.hits is None or not before <= first or not last <= now:
        return None
    # More than it counted meanwhile: it began anew amid them and has come past `first` again
    return Gets(own.hits, own.misses) if own.hits <= last - first else None


def increase(now: int | None, before: int | None) -> int | None:
    """Of a counter; None where one is missing, or was set back: `stats reset`, CONFIG RESETSTAT."""
    return None if now is None or before is None or now < before else now - before


def _ratio(hits: int, misses: int, too_few: int) -> float | None:
    return None if hits + misses <= too_few else round(hits / (hits + misses), 4)


def _per_minute(count: int | None, seconds: float) -> float | None:
    return None if count is None else round(count * 60 / seconds, 2)
